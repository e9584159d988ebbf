"""Drift signals: scores against thresholds over time, what shifted, and Evidently's report."""

from pathlib import Path

import streamlit as st

from dashboard import queries, timelines
from dashboard.views import page
from driftwheel.check_details import DECIDING
from driftwheel.records import DriftSignal

COLUMNS = ("kind", "feature", "verdict", "score", "threshold", "p_value", "method", "reference_rows", "current_rows")


def show_check(signals: list[DriftSignal]) -> None:
    """Draw one check: its features, words and report."""
    rows = [{name: getattr(s, name) for name in COLUMNS} for s in sorted(signals, key=lambda s: s.feature != DECIDING)]
    features, words, report = st.tabs(["Features", "Most shifted words", "Evidently report"])
    with features:
        st.dataframe(
            [{k.replace("_", " "): str(v) if k in ("kind", "verdict") else v for k, v in row.items()} for row in rows],
            hide_index=True,
            column_config={
                "p value": st.column_config.NumberColumn(format="%.2g"),
                "score": st.column_config.NumberColumn(format="%.4g"),
                "threshold": st.column_config.NumberColumn(format="%.4g"),
                "method": st.column_config.TextColumn(width="medium"),
                "reference rows": st.column_config.NumberColumn("reference", help="rows of the reference"),
                "current rows": st.column_config.NumberColumn("current", help="rows of the window"),
            },
        )
        for signal in signals:
            if signal.feature == DECIDING and (known := queries.known_in(signal.details)):
                with st.expander(f"What the {signal.kind} check knew"):
                    page.facts(known)
    with words:
        shifted = queries.shifted_words(signals)
        if shifted:
            st.dataframe([{"word": word} for word in shifted], hide_index=True)
        else:
            st.text("This check names no words.")
    with report:
        if any(s.report_path and (Path(s.report_path) / "report.html").is_file() for s in signals):
            # Same address, own origin: the server's policy sandboxes whatever this file holds.
            st.iframe(f"/reports/{signals[0].check_id}", height=900, alt="Evidently report of this check")
        else:
            st.text("No drawn report was kept for this check.")


settings, ledger = page.start(__file__, "Windows of live traffic against what the live version was judged on.")
st.caption(
    f"Alarm budget: at most {settings.monitor.false_alarms_per_month:g} false alarm(s) a month on steady traffic; "
    f"an alarm needs {settings.monitor.persistence} window(s) in a row over the threshold."
)
signals = queries.deciding_signals(ledger, settings.project)
if not signals:
    page.nothing_yet(
        "No window has been checked yet: the monitor needs a reference and a full window of traffic.",
        "driftwheel monitor",
    )
    st.stop()
st.subheader("Score against threshold", anchor=False)
st.altair_chart(timelines.drift_timeline(signals), alt="Drift score over threshold by time and kind")
checks = {s.check_id: s for s in signals}
latest = list(dict.fromkeys(s.check_id for s in signals))
check_id = st.selectbox(
    "Check", latest, key="check", format_func=lambda i: f"{checks[i].created_at:%Y-%m-%d %H:%M:%S} UTC  {i}"
)
show_check(queries.newest(ledger, DriftSignal, settings.project, check_id=check_id))
