"""Label: the queue of requests that nobody has labelled yet, one key press each; many at once; and labels as files."""

import random
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import streamlit as st

from dashboard import label_files, labelling, traffic_search
from dashboard.labelling import ToLabel
from dashboard.traffic_search import TrafficFilter
from dashboard.views import page
from driftwheel.errors import DriftwheelError
from driftwheel.records.bookkeeping import Scope
from driftwheel.store.alias import find_alias
from driftwheel.traffic.doubtful_labels import NEWEST, DoubtfulLabel, find_doubtful
from driftwheel.traffic.feedback import Author, withdraw_feedback
from driftwheel.traffic.fresh_labels import fresh_for_retrain

QUEUE, PASSED, DONE, ASKED = "label_queue", "label_passed", "label_done", "label_asked"
DOUBTFUL = "label_doubtful"
IN_A_ROW = 3
PLAIN = re.compile(r"[^\W_]+([ _-][^\W_]+)*")


def sitting(ids: tuple[str, ...], text: str) -> tuple[str, ...]:
    """Return the queue of this tab, drawn once for what was asked for: some requests, those with a text, or any."""
    state = st.session_state
    if not state.get(QUEUE) or state.get(ASKED) != (ids, text):
        seed = random.randrange(1 << 32)  # another for each sitting: what comes by chance is not always the same
        if ids or text:
            found = ids or traffic_search.search_traffic(ledger, settings.project, TrafficFilter(text=text)).ids
            state[QUEUE] = labelling.open_among(ledger, settings.project, found)
        else:
            state[QUEUE] = labelling.draw_queue(ledger, settings.project, seed)
        state[PASSED], state[DONE], state[ASKED] = [], state.get(DONE, []), (ids, text)
    queue: tuple[str, ...] = state[QUEUE]
    return queue


def own_words() -> list[str]:
    """Return the ids of the words that were said in this tab, which tell one person without a name from another."""
    return [id for _, _, words in st.session_state[DONE] for id in words]


def say(author: Author, request_id: str, label: str | None) -> None:
    """Label a request and remember it for Undo; raises DriftwheelError where that is refused."""
    page.require(Scope.LABEL)
    of = settings.traffic, ledger, settings.project, request_id
    words = labelling.give_label(*of, author=author, label=label, own=own_words())
    st.session_state[DONE] = [*st.session_state[DONE], (author, request_id, words)]


def give(author: Author, request_id: str, label: str | None) -> None:
    """Label the request that was shown; one that is refused is passed over."""
    try:
        say(author, request_id, label)
    except DriftwheelError as error:
        page.notice("Not done", "red", str(error))
    else:
        page.count_act()
    st.session_state[PASSED] = [*st.session_state[PASSED], request_id]


def give_all(author: Author, ids: tuple[str, ...], key: str) -> None:
    """Give one label to all requests that were shown, and say how many took it."""
    refused, label = [], st.session_state[key]
    if label is None or not str(label).strip():
        page.notice("Not done", "red", "Choose the label first.")
        return
    for id in ids:
        try:
            say(author, id, str(label))
        except DriftwheelError as error:
            refused.append(str(error))
    left = f" {len(refused)} left out: {refused[0]}." if refused else ""
    page.notice("Done", "green", f"{len(ids) - len(refused):,} requests have the label {label}.{left}")
    st.session_state.pop(QUEUE, None)
    page.count_act()


def take_file(author: Author, key: str) -> None:
    """Store the labels of the file that was chosen, all of them or none."""
    file = st.session_state[key]
    if file is None:
        page.notice("Not done", "red", "Choose a file first.")
        return
    try:
        page.require(Scope.LABEL)
        lines = label_files.read_labels(file.name, file.getvalue())
        label_files.check_labels(ledger, settings.project, lines, labels)
        found = label_files.store_labels(settings.traffic, ledger, settings.project, lines, author=author)
    except DriftwheelError as error:
        page.notice("Not done", "red", str(error))
        return
    page.notice("Done" if not found.refused else "Look", "orange" if found.refused else "green", found.text)
    st.session_state.pop(QUEUE, None)
    page.count_act()


def show_many(queue: tuple[str, ...], author: Author) -> None:
    """Draw the way to give one label to all requests of a group or of a search."""
    still = labelling.open_among(ledger, settings.project, queue)
    key = page.drawn_key("all", [hash(still)])
    with st.form(f"{key}-form"):
        title = f"One label for all {len(still):,}"
        if labels:
            st.selectbox(title, [None, *labels], format_func=lambda label: label or "choose", key=key)
        else:
            st.text_input(title, key=key)
        st.form_submit_button("Label all", key=f"{key}-go", on_click=give_all, args=(author, still, key))


def show_files(author: Author) -> None:
    """Draw the ways to bring labels in from a file, and to take requests out to be labelled elsewhere."""
    with st.expander("Labels as files", key="label_files"):
        with st.form("file", border=False):
            st.file_uploader("CSV or JSONL with id and label", type=["csv", "jsonl"], key="label_file")
            st.form_submit_button(
                "Take the labels in", key="take_file", on_click=take_file, args=(author, "label_file")
            )
        st.caption("All of a file is taken, or nothing of it. A label that is there already is not stored twice.")
        with st.container(horizontal=True):
            for form in ("csv", "jsonl"):
                for is_open, what in ((True, "Unlabelled requests"), (False, "Labelled requests")):
                    st.download_button(
                        f"{what} ({form.upper()})",
                        # Read at the click: the page itself needs none of it.
                        partial(label_files.requests_as, form, ledger, settings.project, only_open=is_open),
                        file_name=f"{settings.project}-{'unlabelled' if is_open else 'labelled'}.{form}",
                        key=f"take_out_{form}_{is_open}",
                        on_click="ignore",
                    )


def give_chosen(author: Author, request_id: str, key: str) -> None:
    """Label with what was chosen from the list."""
    if st.session_state[key] is not None:
        give(author, request_id, st.session_state[key])


def draw_anew() -> None:
    """Begin another queue, of any requests."""
    st.session_state.pop(QUEUE, None)
    st.session_state["text"] = ""
    st.query_params.pop("ids", None)


def skip(request_id: str) -> None:
    """Leave a request to others."""
    st.session_state[PASSED] = [*st.session_state[PASSED], request_id]


def undo(author: Author, request_id: str, words: tuple[str, ...]) -> None:
    """Take back the last label and nothing else that its author said, and show its request again."""
    state = st.session_state
    page.act(
        partial(withdraw_feedback, ledger, settings.project, request_id, author=author, ids=words),
        f"The label of {request_id} is taken back.",
        Scope.LABEL,
    )
    state[DONE] = [done for done in state[DONE] if done[1] != request_id]
    state[PASSED] = [id for id in state[PASSED] if id != request_id]


def show_keys(shown: ToLabel, labels: list[str], author: Author) -> None:
    """Draw what can be said about a request, each with its key; every button belongs to this request."""
    accept = partial(give, author, shown.id, shown.suggestion if labels else None)
    done = st.session_state[DONE]
    with st.container(horizontal=True):
        is_one = not labels or shown.suggestion is not None
        st.button(
            "Accept", key=page.drawn_key("accept", [shown.id]), on_click=accept, disabled=not is_one, shortcut="a"
        )
        st.button("Skip", key=page.drawn_key("skip", [shown.id]), on_click=skip, args=(shown.id,), shortcut="s")
        last = done[-1] if done else None
        undo_key = page.drawn_key("undo", [last[1] if last else ""])
        st.button("Undo", key=undo_key, on_click=undo, args=last, disabled=last is None, shortcut="u")
    for start in range(0, min(len(labels), labelling.MOST_KEYS), IN_A_ROW):
        for column, number in zip(st.columns(IN_A_ROW), range(start, start + IN_A_ROW), strict=True):
            if number < min(len(labels), labelling.MOST_KEYS):
                with column.container(horizontal=True, vertical_alignment="center"):
                    # What is on a button is Markdown, and labels are users' text: one with signs stands beside it.
                    is_plain = PLAIN.fullmatch(labels[number]) is not None
                    st.button(
                        labels[number] if is_plain else "This label:",
                        key=page.drawn_key(f"label_{number + 1}", [shown.id]),
                        on_click=give,
                        args=(author, shown.id, labels[number]),
                        shortcut=str(number + 1),
                    )
                    if not is_plain:
                        st.text(labels[number])
    if len(labels) > labelling.MOST_KEYS:
        key = page.drawn_key("other", [shown.id])
        others = [None, *labels[labelling.MOST_KEYS :]]
        st.selectbox(
            "Another label",
            others,
            format_func=lambda label: label or "choose",
            key=key,
            on_change=give_chosen,
            args=(author, shown.id, key),
        )


def show_request(shown: ToLabel, labels: list[str], author: Author) -> None:
    """Draw a request with the model's answer as a suggestion."""
    page.text("Message", shown.prompt, key=f"message-{shown.id}")
    if labels:
        st.text(f"The model says: {shown.suggestion or 'no label'}"[: page.LONGEST_TEXT])
    else:
        page.text("The model answered", shown.answer, key=f"answer-{shown.id}")
    show_keys(shown, labels, author)
    st.link_button("Open the whole request", f"/traffic?id={shown.id}", type="tertiary")


def look_for_doubtful() -> None:
    """Compare the newest labels with the model's sure answers and with one another."""
    st.session_state[DOUBTFUL] = find_doubtful(ledger, settings.alias_key, settings.dataset.label_field)
    page.count_act()


def look_again(request_id: str, do: Callable[[], Any] | None, done: str) -> None:
    """Settle a label that was in doubt, or pass it over."""
    st.session_state[DOUBTFUL] = [d for d in st.session_state[DOUBTFUL] if d.request_id != request_id]
    if do is not None:
        page.act(do, done, Scope.LABEL)


def show_doubtful(author: Author) -> None:
    """Draw the labels that somebody should look at again, the most doubtful first."""
    with st.expander("Labels to look at again", key="doubtful"):
        st.caption("Labels that a sure answer of the model, or most requests like theirs, contradict.")
        st.button("Look for them", key="look_for_doubtful", on_click=look_for_doubtful)
        found: list[DoubtfulLabel] | None = st.session_state.get(DOUBTFUL)
        if found is None:
            return
        st.text(
            f"{len(found):,} labels are in doubt."
            if found
            else f"No label is in doubt, of the newest {NEWEST:,} at most."
        )
        if found:
            show_doubt(found[0], author)


def show_doubt(shown: DoubtfulLabel, author: Author) -> None:
    """Draw one label in doubt with what speaks against it, and what can be done about it."""
    page.text("Message", shown.prompt, key=f"doubtful-{shown.request_id}")
    against = [f"the model was sure of {shown.model_says}"] if shown.model_says else []
    against += [f"most requests like it are {shown.neighbours_say}"] if shown.neighbours_say else []
    who = f"{shown.author or 'somebody without a key'} (trust: {shown.trust})"
    st.text(f"{who} says {shown.label}; {', and '.join(against)}."[: page.LONGEST_TEXT])
    of = ledger, settings.project, shown.request_id
    keep = partial(labelling.keep_label, settings.traffic, *of, author=author, seen=shown.author)
    take_back = partial(withdraw_feedback, *of, author=author, of=shown.author)
    with st.container(horizontal=True):
        for name, label, do, done in (
            ("keep_doubtful", "The label is right", keep, f"You say the same of {shown.request_id}."),
            ("take_back_doubtful", "Take it back", take_back, f"What {who} said of {shown.request_id} counts no more."),
            ("pass_doubtful", "Later", None, ""),
        ):
            key = page.drawn_key(name, [shown.request_id])
            st.button(label, key=key, on_click=look_again, args=(shown.request_id, do, done))


settings, ledger = page.start(
    __file__, "Requests that nobody has labelled: those the model was least sure of, every fifth by chance."
)
alias = find_alias(ledger, *settings.alias_key)
labels = labelling.labels_of(ledger, settings.project, alias.version_id) if alias else []
page.ask_name("Your name, which is kept with each label")
author = page.author()
text = (st.text_input("Only requests with this text", key="text", bind="query-params") or "").strip()
ids = tuple(id for id in st.query_params.get("ids", "").split(",") if id)
queue = sitting(ids, text)
if ids:
    st.text(f"These are the {len(ids):,} requests that another page named.")
if (ids or text) and queue:
    show_many(queue, author)
shown = labelling.next_of(ledger, settings.project, queue, st.session_state[PASSED], settings.dataset.label_field)
count, needed = fresh_for_retrain(ledger, settings.alias_key, settings.dataset), settings.policy.min_fresh_labels
st.progress(min(1.0, count / needed), text=f"{count:,} of the {needed:,} labels that a retrain needs")
if shown is not None:
    with page.place_for("label", [shown.id]):
        show_request(shown, labels, author)
    st.caption("Keys: 1 to 9 give a label, a accepts the model's, s skips, u takes the last one back.")
elif queue or ids or text:
    st.text("No request is left here without a label.")
    st.button("Draw another", key="another", on_click=draw_anew)
else:
    page.nothing_yet("There is no answered request without a label. Send some requests first.", "driftwheel serve")
show_doubtful(author)
show_files(author)
