"""Label: the queue of requests that nobody has labelled yet, one key press each."""

import random
import re
from functools import partial

import streamlit as st

from dashboard import labelling
from dashboard.labelling import ToLabel
from dashboard.views import page
from driftwheel.bookkeeping import Scope
from driftwheel.errors import DriftwheelError
from driftwheel.store.alias import find_alias
from driftwheel.traffic.feedback import Author, withdraw_feedback
from driftwheel.traffic.fresh_labels import fresh_for_retrain

QUEUE, PASSED, DONE = "label_queue", "label_passed", "label_done"
IN_A_ROW = 3
PLAIN = re.compile(r"[^\W_]+([ _-][^\W_]+)*")


def sitting() -> tuple[str, ...]:
    """Return the queue of this tab, drawn once."""
    state = st.session_state
    if not state.get(QUEUE):
        seed = random.randrange(1 << 32)  # another for each sitting: what comes by chance is not always the same
        state[QUEUE] = labelling.draw_queue(ledger, settings.project, seed)
        state[PASSED], state[DONE] = [], []
    queue: tuple[str, ...] = state[QUEUE]
    return queue


def give(author: Author, request_id: str, label: str | None) -> None:
    """Label the request that was shown, and remember it for Undo; one that is refused is passed over."""
    state = st.session_state
    try:
        page.require(Scope.LABEL)
        words = labelling.give_label(settings.traffic, ledger, settings.project, request_id, author=author, label=label)
    except DriftwheelError as error:
        page.notice("Not done", "red", str(error))
    else:
        page.count_act()
        state[DONE] = [*state[DONE], (author, request_id, words)]
    state[PASSED] = [*state[PASSED], request_id]


def give_chosen(author: Author, request_id: str, key: str) -> None:
    """Label with what was chosen from the list."""
    if st.session_state[key] is not None:
        give(author, request_id, st.session_state[key])


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


settings, ledger = page.start(
    __file__, "Requests that nobody has labelled: those the model was least sure of, every fifth by chance."
)
alias = find_alias(ledger, *settings.alias_key)
labels = labelling.labels_of(ledger, settings.project, alias.version_id) if alias else []
page.ask_name("Your name, which is kept with each label")
author = page.author()
queue = sitting()
shown = labelling.next_of(ledger, settings.project, queue, st.session_state[PASSED], settings.dataset.label_field)
count, needed = fresh_for_retrain(ledger, settings.alias_key, settings.dataset), settings.policy.min_fresh_labels
st.progress(min(1.0, count / needed), text=f"{count:,} of the {needed:,} labels that a retrain needs")
if shown is not None:
    with page.place_for("label", [shown.id]):
        show_request(shown, labels, author)
    st.caption("Keys: 1 to 9 give a label, a accepts the model's, s skips, u takes the last one back.")
elif queue:
    st.text("You are through with this queue.")
    st.button("Draw another", key="another", on_click=st.session_state.pop, args=(QUEUE,))
else:
    page.nothing_yet("There is no answered request without a label. Send some requests first.", "driftwheel serve")
