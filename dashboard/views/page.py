"""What every page has: the open loop, and ways to show text from outside as text.

Streamlit reads most strings as markdown. Whatever a user, a model or an error message wrote goes through
`st.text`, `st.code` or a table, never through `st.write`, `st.error` or a label.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import streamlit as st

from dashboard import pages, queries
from dashboard.handover import handed_over
from driftwheel.cli.command import open_ledger
from driftwheel.errors import DriftwheelError
from driftwheel.settings.load import load_settings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger

NOTICE = "notice"
LONGEST_TEXT = 500


@st.cache_resource(show_spinner=False)
def _open(path: str, overrides: tuple[str, ...]) -> tuple[Settings, Ledger]:
    settings = load_settings(path, overrides)
    return settings, open_ledger(settings)


def loop() -> tuple[Settings, Ledger]:
    """Return settings and ledger of the loop that this process shows; opened once."""
    return _open(*handed_over())


def start(view: str | Path, sentence: str) -> tuple[Settings, Ledger]:
    """Draw the head of the page in a file, with its title from the registry, and return settings and ledger."""
    settings, ledger = loop()
    st.title(pages.title_of(view), anchor=False)
    st.caption(sentence)
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


def nothing_yet(what: str, command: str) -> None:
    """Say that there is nothing yet and which command makes the first."""
    st.info(f"{what} To make one:")
    st.code(command, language="bash")


def act(do: Callable[[], Any], done: str) -> None:
    """Do one change of the ledger, keep a sentence about it for the next run of the page, and rerun."""
    try:
        do()
    except DriftwheelError as error:
        st.session_state[NOTICE] = ("Not done", "red", str(error))
    else:
        st.session_state[NOTICE] = ("Done", "green", done)
    st.rerun()


def confirmed(label: str, *, key: str, question: str, disabled: bool = False, type: Any = "secondary") -> bool:
    """Draw a button that asks once more; true when the person has said yes."""
    with st.popover(label, disabled=disabled, type=type, key=f"{key}-popover"):
        st.write(question)
        return st.button(f"Yes, {label.lower()}", key=key, type="primary", disabled=disabled)


def facts(values: Mapping[str, object]) -> None:
    """Show names and values as a plain two-column table; what is nested gets a dotted name."""
    rows = [{"field": name, "value": _plain(value)} for name, value in queries.flat(values).items()]
    st.dataframe(rows, hide_index=True)


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return queries.moment_text(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)[:LONGEST_TEXT]


def choose(label: str, records: Sequence[Any], name: Callable[[Any], str], *, key: str) -> Any:
    """Let a person choose one record; the first is the default."""
    names = {r.id: name(r) for r in records}
    chosen = st.selectbox(label, list(names), format_func=lambda id: names[id], key=key)
    return next(r for r in records if r.id == chosen)
