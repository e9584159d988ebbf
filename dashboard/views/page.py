"""What every page has: the open loop, and ways to show text from outside as text.

Streamlit reads most strings as markdown. Whatever a user, a model or an error message wrote goes through
`st.text`, `st.code` or a table, never through `st.write`, `st.error` or a label.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import pages, queries, shared, ways
from dashboard.handover import handed_over, needs_key
from dashboard.sign_in import CALLER_HEADER
from driftwheel.callers.key_holders import KeyHolder, holder_named
from driftwheel.cli.command import open_ledger
from driftwheel.errors import ConflictError, DriftwheelError
from driftwheel.identity import utc_now
from driftwheel.inert_text import inert_cell
from driftwheel.records.bookkeeping import Scope
from driftwheel.records.by_whom import Cause, Trust
from driftwheel.settings.load import load_settings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.feedback import Author, person

NOTICE = "notice"
ACTS = "acts"
"""How often something was done in this tab."""
NAME = "judge"
"""Key of the field for a person's name, on every page that asks for it."""
FIELD_PIXELS = 180
"""Of the names of facts: `trainable parameters` is whole, and a phone has room beside it."""
LONGEST_TEXT = 500
"""Characters of a value in a table."""
LONGEST_BLOCK = 10_000
"""Characters of a text that is shown at once; what is longer is opened on demand, as it may be megabytes."""


@st.cache_resource(show_spinner=False)
def _open(path: str, overrides: tuple[str, ...]) -> tuple[Settings, Ledger]:
    settings = load_settings(path, overrides)
    return settings, open_ledger(settings)


def loop() -> tuple[Settings, Ledger]:
    """Return settings and ledger of the loop that this process shows; opened once."""
    return _open(*handed_over())


def start(view: str | Path, sentence: str) -> tuple[Settings, Ledger]:
    """Draw the head of the page in a file, with its title from the registry, and return settings and ledger.

    Nothing is drawn for somebody whose key is not good any more.
    """
    ways.follow()
    settings, ledger = loop()
    try:
        holder()
    except ConflictError as error:  # said here, because errors that are raised are shown without their words
        st.error(str(error))
        st.stop()
    st.title(pages.title_of(view), anchor=False)
    # The project on every page: people have several loops open, and a button acts on one of them. Its name holds
    # letters, digits and hyphens alone, so that Markdown is safe.
    st.caption(f"Project **{settings.project}**. {sentence}")
    message = st.session_state.pop(NOTICE, None)
    if message:
        _box(*message)
    return settings, ledger


def _box(word: str, color: Any, text: str) -> None:
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.badge(word, color=color)
        st.text(text)


def problem(text: str, word: str = "Not done") -> None:
    """Show what went wrong, as text."""
    _box(word, "red", text)


def place_for(name: str, of: Sequence[object]) -> DeltaGenerator:
    """Return where one thing is drawn, apart from where the thing before it stood.

    A browser gets a page piece by piece, and each piece takes the place of the one before: while another request came,
    the buttons of the last one would stand under the words of the next. Here the two take turns at two places.
    """
    state, mark = st.session_state, [*map(str, of)]
    last, turn = state.get(f"place-{name}", (None, 1))
    if last != mark:
        turn = 1 - turn
        state[f"place-{name}"] = (mark, turn)
    return (st.container(), st.container())[turn].container(key=drawn_key(name, of))


def steady(key: str) -> DeltaGenerator:
    """Return where something is drawn that is read again every few seconds.

    Streamlit fades what a run has not drawn anew yet, so that on a busy machine half the page blinked at each look.
    """
    st.html(f"<style>.st-key-{key} [data-stale=true] {{opacity: 1 !important}}</style>")
    return st.container(key=key)


def holder() -> KeyHolder | None:
    """Return whose key was shown in this tab, as it is now; None where no key is asked for.

    Raises DriftwheelError where one is, and this one is not good any more.
    """
    if not needs_key():
        return None
    settings, ledger = loop()
    id = st.context.headers.get(CALLER_HEADER)
    found = holder_named(ledger, settings.project, id, utc_now()) if id else None
    if found is None:
        raise ConflictError("Your key is not good any more, or was never shown: sign in again.")
    return found


def require(needs: Scope) -> None:
    """Raise ConflictError if who looks at this tab may not do what needs a scope."""
    who = holder()
    if who is not None and needs not in who.scopes:
        raise ConflictError(f"The key {who.id} may not do this: it needs the scope {needs}.")


def _within(needs: Scope, looks: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return how a button looks: one that the person may not press says which scope it needs."""
    who = holder()
    if who is None or needs in who.scopes:
        return looks
    return {**looks, "disabled": True, "help": f"Needs a key with the scope {needs}."}


def author() -> Author:
    """Return who gives feedback in this tab: the holder of the key, else the name given on it, or the dashboard."""
    who = holder()
    if who is not None:
        is_trusted = Scope.LABEL_TRUSTED in who.scopes
        return Author(id=who.id, trust=Trust.TRUSTED if is_trusted else Trust.LABEL)
    return person(str(st.session_state.get(NAME) or "").strip() or "dashboard")


def cause() -> Cause:
    """Return who presses a button in this tab, for the event that it writes."""
    return Cause(actor=author().id)


def ask_name(label: str, *, key: str = NAME) -> str:
    """Draw the field for a person's name, and return it; the tab remembers it on all pages. A key has a name."""
    if (who := holder()) is not None:
        st.text(f"You are {who.id}.")
        return who.id
    return (st.text_input(label, key=key, max_chars=80, persist_state="session") or "").strip()


def text(title: str, content: str, *, key: str) -> None:
    """Show a text from outside as text under its title; the rest of a very long one on demand."""
    (st.caption if title.replace(" ", "").isalpha() else st.text)(title)  # a caption is Markdown, and roles are users'
    is_cut = len(content) > LONGEST_BLOCK and not st.toggle(f"Show all {len(content):,} characters", key=key)
    st.code((content[:LONGEST_BLOCK] if is_cut else content) or "(empty)", language=None, wrap_lines=True)
    if is_cut:
        st.caption(f"The first {LONGEST_BLOCK:,} of {len(content):,} characters.")


def nothing_yet(what: str, command: str) -> None:
    """Say that there is nothing yet and which command makes the first."""
    st.info(f"{what} What to do next:")
    st.code(command, language="bash")


def notice(word: str, color: str, text: str) -> None:
    """Keep a sentence for the page that is drawn next."""
    st.session_state[NOTICE] = (word, color, text)


def count_act() -> None:
    """Remember that something was changed here, so that what was read before is read anew."""
    st.session_state[ACTS] = st.session_state.get(ACTS, 0) + 1
    shared.forget()


def act(do: Callable[[], Any], done: str, needs: Scope) -> None:
    """Do one change of the ledger, and keep a sentence about it for the page that is drawn next.

    What the person may do is looked up now, and not when the page was drawn.
    """
    try:
        require(needs)
        do()
    except DriftwheelError as error:
        notice("Not done", "red", str(error))
    else:
        notice("Done", "green", done)
    count_act()


def action(
    label: str,
    do: Callable[[], Any],
    done: str,
    *,
    key: str,
    seen: Sequence[object],
    needs: Scope = Scope.OPERATE,
    **looks: Any,
) -> None:
    """Draw a button that changes the ledger as the person saw it, for who has a key with the scope `needs`.

    `do` holds what was drawn, and `seen` tells one such drawing from the next. It is a callback, and `seen` is in the
    button's key: Streamlit runs the whole page anew at a click, and what the new run would read may be another world
    than the one that was clicked on. A click on a button that is drawn no more does nothing.
    """
    st.button(label, key=drawn_key(key, seen), on_click=act, args=(do, done, needs), **_within(needs, looks))


def drawn_key(key: str, seen: Sequence[object]) -> str:
    """Return the key of a widget that belongs to one drawing of the world."""
    return "-".join([key, *map(str, seen)])


def confirmed_action(
    label: str,
    do: Callable[[], Any],
    done: str,
    *,
    key: str,
    seen: Sequence[object],
    question: str,
    why_not: str = "",
    type: Any = "secondary",
) -> None:
    """Draw a button like `action` that asks once more; one that cannot be pressed says why not."""
    disabled, popover_key = bool(why_not), drawn_key(f"{key}-popover", seen)
    with st.popover(label, disabled=disabled, type=type, key=popover_key, help=why_not or None):
        st.write(question)
        action(f"Yes, {label.lower()}", do, done, key=key, seen=seen, type="primary", disabled=disabled)


def table(rows: Any, **looks: Any) -> Any:
    """Draw rows as a table, in which no text is a formula: a person can save it, and open it in a spreadsheet."""
    return st.dataframe([_inert_row(row) for row in rows] if isinstance(rows, list) else rows, hide_index=True, **looks)


def _inert_row(row: Mapping[str, Any]) -> dict[str, object]:
    return {inert_cell(name): inert_cell(value) if isinstance(value, str) else value for name, value in row.items()}


def facts(values: Mapping[str, object], *, as_keys: bool = False, name_pixels: int = FIELD_PIXELS) -> None:
    """Show names and values as a plain two-column table; what is nested gets a dotted name.

    What is not known is left out. With `as_keys` the names stay as they are written in the settings file.
    """
    rows = [
        {"field": name if as_keys else name.replace("_", " "), "value": _plain(value)}
        for name, value in queries.flat(values).items()
        if value is not None and value != ""
    ]
    if not rows:
        st.text("None.")
        return
    table(rows, height="content", column_config={"field": st.column_config.TextColumn(width=name_pixels)})


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return queries.moment_text(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple) and all(isinstance(part, str) for part in value):
        return ", ".join(value)[:LONGEST_TEXT]
    return str(value)[:LONGEST_TEXT]


def choose(label: str, records: Sequence[Any], name: Callable[[Any], str], *, key: str) -> Any:
    """Let a person choose one record; the first is the default.

    A browser remembers the words of the choice, so they must not change with the record: its status does not belong
    into its name. The choice stands in the page's address. Where two have the same name, their ids are told too.
    """
    named = Counter(name(r) for r in records)
    names = {r.id: name(r) if named[name(r)] == 1 else f"{name(r)}  {r.id}" for r in records}
    ids = list(names)
    chosen = st.selectbox(label, ids, format_func=lambda id: names[id], key=key, bind="query-params")
    return next(r for r in records if r.id == chosen)
