"""The search fields of the Traffic page: each stands in the page's address, so that a link is a search."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time
from typing import Literal

import streamlit as st

from dashboard import traffic_search
from dashboard.traffic_search import TrafficFilter
from driftwheel.traffic.outcomes import Outcome

BIND: Literal["query-params"] = "query-params"
FURTHER = ("from", "by_key", "user", "unsure")
"""Fields that are folded until one of them is in use."""


def chosen_filter(names: Mapping[str, str]) -> TrafficFilter:
    """Draw the search fields, which stand in the page's address, and return what they hold; `names` are of versions."""
    columns = st.columns([3, 1, 1, 1])
    text = columns[0].text_input(
        "Search in prompts, answers, labels and ids",
        key="search",
        bind=BIND,
        help=f"In the first {traffic_search.SEARCHED_CHARACTERS:,} characters of each; an id is found at any age.",
    )
    version = columns[1].selectbox(
        "Version", [None, *names], format_func=lambda i: names.get(i, "all"), key="of", bind=BIND
    )
    outcome = columns[2].selectbox(
        "Outcome", [None, *map(str, Outcome)], format_func=lambda o: o or "all", key="outcome", bind=BIND
    )
    said = [None, "labelled", "thumb up", "thumb down", "none"]
    feedback = columns[3].selectbox("Feedback", said, format_func=lambda f: f or "all", key="feedback", bind=BIND)
    wanted = TrafficFilter(text=(text or "").strip(), version_id=version, outcome=outcome, feedback=feedback)
    return _narrowed(wanted)


def _narrowed(wanted: TrafficFilter) -> TrafficFilter:
    """Draw the further search fields, and return the filter with what they hold."""
    given = any(name in st.query_params for name in FURTHER)
    with st.expander("By time, key, user and confidence", expanded=given, key="further"):
        columns = st.columns(4)
        day = columns[0].date_input("Not before (UTC)", None, key="from", bind=BIND, format="YYYY-MM-DD")
        key = columns[1].text_input("Key", key="by_key", bind=BIND)
        user = columns[2].text_input("User", key="user", bind=BIND)
        below = columns[3].number_input(
            "Confidence below, %",
            0.0,
            100.0,
            None,
            5.0,
            key="unsure",
            bind=BIND,
            help="The mean probability of an answer's tokens; known where the client asked for log-probabilities.",
        )
    return replace(
        wanted,
        since=datetime.combine(day, time(), UTC) if isinstance(day, date) else None,
        key_id=(key or "").strip(),
        user_id=(user or "").strip(),
        unsure_below=None if below is None else below / 100,
    )
