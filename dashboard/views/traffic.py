"""Traffic: find answered requests, look at one, say whether it was right."""

from functools import partial

import streamlit as st

from dashboard import queries, traffic_search
from dashboard.scorecards import Row
from dashboard.traffic_fields import chosen_filter
from dashboard.traffic_search import Found, Line, Place, TrafficFilter
from dashboard.views import page
from driftwheel.records.bookkeeping import Scope
from driftwheel.records.nouns import Traffic
from driftwheel.text.asked import UnreadableRequestError, read_asked
from driftwheel.text.conversations import text_of
from driftwheel.traffic.feedback import Author, give_feedback, withdraw_feedback, words_about

# In pixels: with what they would like, these two would push the others out of sight.
WIDTHS = {"prompt": 230, "answer": 160, "label": 130}
PLACES, DRAWN, LINES = "traffic_places", "traffic_drawn", "traffic_lines"
THUMBS = {1: ("Right", ":material/thumb_up:", "thumb_up"), -1: ("Wrong", ":material/thumb_down:", "thumb_down")}


def found_once(wanted: TrafficFilter) -> Found:
    """Return the page of the search that this tab shows: found once, so that no row moves while a person reads."""
    state = st.session_state
    if state.get(DRAWN, (None,))[0] != wanted:
        state[PLACES] = [None]
    places: list[Place | None] = state[PLACES]
    seen = (wanted, len(places))
    if state.get(DRAWN, ())[:2] != seen:
        found = traffic_search.search_traffic(ledger, settings.project, wanted, before=places[-1])
        state[DRAWN] = (*seen, found)
    shown: Found = state[DRAWN][2]
    return shown


def lines_once(found: Found) -> list[Line]:
    """Return the lines of a page: read once, and again when something was done here, as their texts never change."""
    state, mark = st.session_state, (found.ids, st.session_state.get(page.ACTS, 0))
    if state.get(LINES, (None,))[0] != mark:
        state[LINES] = (mark, traffic_search.lines_of(ledger, settings.project, found.ids))
    lines: list[Line] = state[LINES][1]
    return lines


def turn_page(place: Place | None) -> None:
    """Go on to the page that begins at a place; None goes back to the one before."""
    places = st.session_state[PLACES]
    st.session_state[PLACES] = [*places, place] if place is not None else places[:-1]


def start_anew() -> None:
    """Search again from the newest request."""
    st.session_state.pop(DRAWN, None)


def table_row(row: Line, names: dict[str, str]) -> Row:
    """Return one line of the table."""
    return {
        "time (UTC)": f"{row.created_at:%Y-%m-%d %H:%M:%S}",
        "prompt": row.prompt,
        "answer": row.answer,
        "label": row.label or "",
        "thumb": {1: "up", -1: "down"}.get(row.thumb or 0, ""),
        "version": names.get(row.version_id, row.version_id),
        "status": "cut off" if row.is_partial else str(row.status_code),
        "ms": round(row.latency_seconds * 1000),
    }


def show_lines(lines: list[Line], chosen_id: str | None) -> None:
    """Draw the table; a choice is of the request that stood on the line when the table was drawn."""
    names, ids = queries.version_names(ledger, settings.project), [line.id for line in lines]
    key = page.drawn_key("lines", [hash(tuple(ids))])
    chosen = [ids.index(chosen_id)] if chosen_id in ids else []
    page.table(
        [table_row(line, names) for line in lines],
        height=320,
        on_select=partial(choose_line, key, ids),
        selection_mode="single-row",
        selection_default={"selection": {"rows": chosen}},
        key=key,
        column_config={name: st.column_config.TextColumn(width=width) for name, width in WIDTHS.items()},
    )


def choose_line(key: str, ids: list[str]) -> None:
    """Open the request of the line that was chosen, and put its id into the page's address."""
    rows = st.session_state[key].selection.rows
    if rows:
        st.query_params["id"] = ids[rows[0]]


def show_turning(found: Found) -> None:
    """Draw how far the search came, and the ways to other pages."""
    number = len(st.session_state[PLACES])
    if found.searched_to is not None:
        st.caption(f"Searched back to {found.searched_to:%Y-%m-%d %H:%M:%S} UTC; older requests were not read yet.")
    with st.container(horizontal=True, vertical_alignment="center"):
        older = "Search further back" if found.searched_to is not None else "Older"
        st.button("Newer", key="newer", on_click=turn_page, args=(None,), disabled=number == 1)
        st.button(older, key="older", on_click=turn_page, args=(found.older,), disabled=found.older is None)
        st.caption(f"Page {number}")


@st.fragment(run_every="10s")
def show_newer(wanted: TrafficFilter, lines: list[Line]) -> None:
    """Say how many requests came since the table was drawn, again every ten seconds; the table stays as it is."""
    count = traffic_search.newer_than(ledger, settings.project, wanted, lines[0].created_at)
    if count:
        more = "or more " if count == traffic_search.MOST_NEWER else ""
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"{count:,} {more}newer")
            # Of the page and not of this fragment alone: a callback is followed by a run of what drew its button.
            if st.button("Show the newest", key="show_newest"):
                start_anew()
                st.rerun()


def show_request(row: Traffic) -> None:
    """Draw one request with everything known about it."""
    left, right = st.columns([3, 2])
    with left:
        page.text("Prompt", row.prompt, key=f"prompt-{row.id}")
        show_conversation(row)
        page.text("Answer", row.answer, key=f"answer-{row.id}")
        if row.error:
            page.problem(row.error, "Error")
        show_feedback(row)
    with right:
        page.facts(
            {
                "id": row.id,
                "received": row.created_at,
                "version": queries.version_names(ledger, settings.project).get(row.version_id, row.version_id),
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
            },
            name_pixels=120,
        )


def show_conversation(row: Traffic) -> None:
    """Draw every message that the model was given, where there are more than the prompt, or why it is no row."""
    try:
        asked = read_asked(row.request, row.route)
    except UnreadableRequestError as reason:
        if row.request:
            st.text(f"No version learns from this request: it has {reason}.")
        return
    if len(asked.messages) < 2 and not asked.tools:
        return
    tools = f", {queries.counted(len(asked.tools), 'tool')}" if asked.tools else ""
    title = f"All {len(asked.messages)} messages{tools}"
    # With `on_change` it tells whether it is open: what is inside is sent only then.
    box = st.expander(title, key=f"messages-{row.id}", on_change="rerun")
    if box.open:
        with box:
            for number, message in enumerate(asked.messages):
                page.text(message["role"], text_of(message), key=f"message-{row.id}-{number}")
            for tool in asked.tools:
                st.json(tool, expanded=False)


def save_correction(author: Author, request_id: str, key: str) -> None:
    """Write down the text of a correction, and say so on the next run of the page."""
    correction = st.session_state[key]
    if correction.strip():
        page.act(
            partial(give, author, request_id, correction=correction),
            f"The correction of {request_id} is recorded.",
            Scope.LABEL,
        )


def give(author: Author, request_id: str, **said: object) -> None:
    """Write down what a person says about the request that they saw."""
    field, project = settings.dataset.label_field, settings.project
    give_feedback(settings.traffic, ledger, project, request_id, author=author, label_field=field, **said)  # type: ignore[arg-type]  # `said` is a thumb or a correction


def show_words(row: Traffic) -> bool:
    """Draw who said what about an answer; return whether something that was said here can be taken back."""
    words = words_about(ledger, [row.id]).get(row.id, [])
    if words:
        lines = [
            {
                "time (UTC)": f"{word.created_at:%Y-%m-%d %H:%M:%S}",
                "author": word.author.removeprefix("person:"),
                "trust": str(word.trust),
                "kind": str(word.kind),
                "said": word.value[: page.LONGEST_TEXT],
                "withdrawn": word.withdrawn_at is not None,
            }
            for word in words
        ]
        page.table(lines, key=page.drawn_key("words", [row.id]))
    return any(word.author == page.author().id and word.withdrawn_at is None for word in words)


def show_feedback(row: Traffic) -> None:
    """Draw what was said and the ways to judge an answer; each belongs to this request, whatever is shown next."""
    can_take_back, author = show_words(row), page.author()
    with st.container(horizontal=True):
        for thumb, (label, icon, key) in THUMBS.items():
            done = f"Thumb {'up' if thumb == 1 else 'down'} for {row.id} is recorded."
            say = partial(give, author, row.id, thumb=thumb)
            page.action(label, say, done, key=key, seen=[row.id], needs=Scope.LABEL, icon=icon)
        if can_take_back:
            page.action(
                "Take back",
                partial(withdraw_feedback, ledger, settings.project, row.id, author=author),
                f"What was said here of {row.id} counts no more.",
                key="take_back",
                seen=[row.id],
                needs=Scope.LABEL,
                icon=":material/undo:",
            )
    text_key = page.drawn_key("correction", [row.id])
    with st.form(page.drawn_key("correct-form", [row.id]), clear_on_submit=True):
        st.text_area("The whole right answer", key=text_key)
        st.form_submit_button(
            "Save the correction",
            key=page.drawn_key("correct", [row.id]),
            on_click=save_correction,
            args=(author, row.id, text_key),
        )


def show_chosen(request_id: str) -> None:
    """Draw the request with an id, or say that there is none."""
    found = ledger.find(Traffic, id=request_id, project=settings.project, without=("response",))
    if found:
        with page.place_for("request", [request_id]):
            show_request(found[0])
    else:
        page.problem(
            f"There is no request {request_id!r} in {settings.project}: it was deleted, or never here.", "Gone"
        )


settings, ledger = page.start(
    __file__, "Every answered request, newest first. Feedback given here trains the next version."
)
chosen_id = st.query_params.get("id")
wanted = chosen_filter(queries.version_names(ledger, settings.project))
found = found_once(wanted)
lines = lines_once(found)
if lines:
    show_newer(wanted, lines)
    show_lines(lines, chosen_id)
    show_turning(found)
elif found.older is not None:
    st.text("No request matches so far.")
    show_turning(found)
elif wanted != TrafficFilter() or len(st.session_state[PLACES]) > 1:
    st.text("No request matches.")
else:
    start_anew()  # so that the first request appears with the next run
    page.nothing_yet("There is no traffic yet. Start the gateway and send it a request.", "driftwheel serve")
if chosen_id or lines:
    show_chosen(chosen_id or lines[0].id)
