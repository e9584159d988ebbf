"""History: who did what to this loop and why, what the loop did itself, and the alarms, in one table with filters."""

from typing import Literal

import streamlit as st

from dashboard import event_rows, queries
from dashboard.views import page
from driftwheel.identity import utc_now
from driftwheel.store.events import events_of

SHOWN, MORE = "history_shown", 100

settings, ledger = page.start(__file__, "Who did what and why, newest first. Nothing here is ever changed or deleted.")
bind: Literal["query-params"] = "query-params"
columns = st.columns(4)
group = columns[0].selectbox(
    "What", [None, *event_rows.GROUPS, event_rows.OTHER], format_func=lambda g: g or "all", key="what", bind=bind
)
actor = columns[1].selectbox(
    "Who",
    [None, *event_rows.actors(ledger, settings.project)],
    format_func=lambda a: a or "all",
    key="who",
    bind=bind,
)
span = columns[2].selectbox(
    "When", [None, *event_rows.SPANS], format_func=lambda s: s or "at any time", key="when", bind=bind
)
to = (columns[3].text_input("To which id", key="to", bind=bind) or "").strip()
limit = st.session_state.get(SHOWN, MORE)
found = events_of(
    ledger,
    settings.project,
    actions=event_rows.actions_of(group),
    actor=actor,
    since=event_rows.since_of(span, utc_now()),
    object_id=to or None,
    limit=limit + 1,
)
if found:
    rows = event_rows.event_rows(found[:limit], queries.version_names(ledger, settings.project))
    widths = {"why": "medium", "change": "large"}
    page.table(
        rows,
        height="content" if len(rows) < 20 else 700,
        column_config={name: st.column_config.TextColumn(width=width) for name, width in widths.items()},  # type: ignore[arg-type]  # literals
    )
    if len(found) > limit:
        st.caption(f"The newest {limit:,}.")
        if st.button("Show more", key="more"):
            st.session_state[SHOWN] = limit + MORE
            st.rerun()
elif group or actor or span or to:
    st.text("Nothing of that kind was done.")
else:
    page.nothing_yet("Nothing was done to this loop yet.", "driftwheel retrain")
