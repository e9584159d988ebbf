"""Traffic: find answered requests, look at one, say whether it was right."""

from typing import Literal

import streamlit as st

from dashboard import queries, traffic_search
from dashboard.scorecards import Row
from dashboard.views import page
from driftwheel.asked import UnreadableRequestError, read_asked
from driftwheel.conversations import text_of
from driftwheel.records import Traffic
from driftwheel.traffic.feedback import give_feedback, person, withdraw_feedback, words_about
from driftwheel.traffic.outcomes import Outcome

PAGE_ROWS = 100
AUTHOR = person("dashboard")
"""Who presses here: the pages ask nobody for a name."""
# In pixels: with what they would like, these two would push the others out of sight.
WIDTHS = {"prompt": 230, "answer": 160}


def chosen_filter() -> traffic_search.TrafficFilter:
    """Draw the search fields and return what they hold."""
    columns = st.columns([3, 1, 1, 1])
    text = columns[0].text_input("Search in prompts, answers, labels and ids", key="search")
    names = queries.version_names(ledger, settings.project)
    version = columns[1].selectbox("Version", [None, *names], format_func=lambda i: names.get(i, "all"), key="of")
    outcome = columns[2].selectbox(
        "Outcome", [None, *map(str, Outcome)], format_func=lambda o: o or "all", key="outcome"
    )
    feedback = columns[3].selectbox(
        "Feedback",
        [None, "labelled", "thumb up", "thumb down", "none"],
        format_func=lambda f: f or "all",
        key="feedback",
    )
    return traffic_search.TrafficFilter(text=text.strip(), version_id=version, outcome=outcome, feedback=feedback)


def table_row(row: Traffic, names: dict[str, str]) -> Row:
    """Return one line of the table."""
    return {
        "time (UTC)": f"{row.created_at:%Y-%m-%d %H:%M:%S}",
        "version": names.get(row.version_id, row.version_id),
        "status": "cut off" if row.is_partial else str(row.status_code),
        "prompt": row.prompt,
        "answer": row.answer,
        "label": row.label or "",
        "thumb": {1: "up", -1: "down"}.get(row.thumb or 0, ""),
        "ms": round(row.latency_seconds * 1000),
    }


def show_detail(row: Traffic) -> None:
    """Draw one request with everything known about it."""
    left, right = st.columns([3, 2])
    with left:
        st.caption("Prompt")
        st.code(row.prompt, language=None, wrap_lines=True)
        show_conversation(row)
        st.caption("Answer")
        st.code(row.answer or "(empty)", language=None, wrap_lines=True)
        if row.error:
            page.problem(row.error, "Error")
        show_feedback(row)
    with right:
        page.facts(
            {
                "id": row.id,
                "received": row.created_at,
                "version": row.version_id,
                "route": row.route,
                "status": row.status_code,
                "streamed": row.is_stream,
                "finish reason": row.finish_reason,
                "prompt tokens": row.prompt_tokens,
                "answer tokens": row.completion_tokens,
                "latency, seconds": row.latency_seconds,
                "first token, seconds": row.time_to_first_token_seconds,
                "mean log-probability": row.mean_logprob,
                "key": row.key_id,
                "user": row.user_id,
                "label": row.label,
                "label source": row.label_source,
                "feedback": row.feedback_at,
            }
        )


def show_conversation(row: Traffic) -> None:
    """Draw every message that the model was given, where there are more than the prompt, or why it is no row."""
    try:
        asked = read_asked(row.request, row.route)
    except UnreadableRequestError as reason:
        if row.request:
            st.caption(f"No version learns from this request: it has {reason}.")
        return
    if len(asked.messages) > 1 or asked.tools:
        with st.expander(f"All {len(asked.messages)} messages, {len(asked.tools)} tools"):
            for message in asked.messages:
                st.caption(message["role"])
                st.code(text_of(message) or "(empty)", language=None, wrap_lines=True)
            for tool in asked.tools:
                st.json(tool, expanded=False)


def correct(row: Traffic, correction: str) -> Traffic:
    """Give a request its right answer."""
    field = settings.dataset.label_field
    return give_feedback(
        settings.traffic, ledger, settings.project, row.id, author=AUTHOR, correction=correction, label_field=field
    )


def rate(row: Traffic, thumb: Literal[1, -1]) -> Traffic:
    """Say of an answer that it was right, or wrong."""
    return give_feedback(settings.traffic, ledger, settings.project, row.id, author=AUTHOR, thumb=thumb)


def take_back(row: Traffic) -> Traffic:
    """Withdraw what was said here."""
    return withdraw_feedback(ledger, settings.project, row.id, author=AUTHOR)


def show_words(row: Traffic) -> bool:
    """Draw who said what about an answer; return whether something that was said here can be taken back."""
    words = words_about(ledger, [row.id]).get(row.id, [])
    if words:
        lines = [
            {
                "time (UTC)": f"{word.created_at:%Y-%m-%d %H:%M:%S}",
                "author": word.author,
                "trust": str(word.trust),
                "kind": str(word.kind),
                "said": word.value,
                "withdrawn": word.withdrawn_at is not None,
            }
            for word in words
        ]
        st.dataframe(lines, hide_index=True, key="words")
    return any(word.author == AUTHOR.id and word.withdrawn_at is None for word in words)


def show_feedback(row: Traffic) -> None:
    """Draw what was said about an answer, and the ways to judge it."""
    can_take_back = show_words(row)
    with st.container(horizontal=True):
        if st.button("Right", icon=":material/thumb_up:", key="thumb_up"):
            page.act(lambda: rate(row, 1), "Thumb up is recorded.")
        if st.button("Wrong", icon=":material/thumb_down:", key="thumb_down"):
            page.act(lambda: rate(row, -1), "Thumb down is recorded.")
        if can_take_back and st.button("Take back", icon=":material/undo:", key="take_back"):
            page.act(lambda: take_back(row), "What was said here counts no more.")
    with st.form("correct", clear_on_submit=True):
        correction = st.text_area("The whole right answer", key="correction")
        if st.form_submit_button("Save the correction", key="correct") and correction.strip():
            page.act(
                lambda: correct(row, correction),
                "The correction is recorded.",
            )


settings, ledger = page.start(
    __file__, "Every answered request, newest first. Feedback given here trains the next version."
)
if not ledger.count(Traffic, project=settings.project):
    page.nothing_yet("There is no traffic yet. Start the gateway and send it a request.", "driftwheel serve")
    st.stop()
wanted = chosen_filter()
number = int(st.session_state.get("page_number", 1))
offset = (number - 1) * PAGE_ROWS
rows, total = traffic_search.search_traffic(ledger, settings.project, wanted, limit=PAGE_ROWS, offset=offset)
pages = max(1, -(-total // PAGE_ROWS))
if number > pages:
    st.session_state["page_number"] = 1
    st.rerun()
st.caption(f"{total:,} requests match. Choose a line to see it whole.")
names = queries.version_names(ledger, settings.project)
choice = st.dataframe(
    [table_row(r, names) for r in rows],
    hide_index=True,
    height=320,
    on_select="rerun",
    selection_mode="single-row",
    key="lines",
    column_config={name: st.column_config.TextColumn(width=width) for name, width in WIDTHS.items()},
)
if pages > 1:
    st.number_input("Page", min_value=1, max_value=pages, step=1, key="page_number", width=160)
selected = choice.selection.rows
if rows:
    show_detail(rows[selected[0]] if selected and selected[0] < len(rows) else rows[0])
