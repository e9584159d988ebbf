"""Drift: what changed in a window of traffic, examples of both sides, what would help, and the history of alarms."""

from functools import partial
from pathlib import Path

import streamlit as st

from dashboard import drift_tables, files, moves, queries, timelines, ways
from dashboard.drift_tables import KINDS, VERDICTS, WHAT_HELPS
from dashboard.views import page
from driftwheel.records.by_whom import Action
from driftwheel.records.check_details import DECIDING
from driftwheel.records.diagnosis import Diagnosis, Finding, NewCluster, Remedy
from driftwheel.records.nouns import (
    Dataset,
    DriftKind,
    DriftSignal,
    DriftVerdict,
    ModelVersion,
    RetrainDecision,
    Traffic,
)
from driftwheel.store.events import events_of
from driftwheel.traffic.new_normal import as_it_stands

COLUMNS = ("kind", "feature", "verdict", "score", "threshold", "p_value", "method", "reference_rows", "current_rows")
COLORS = {"drifted": "red", "suspected": "orange", "steady": "green", "insufficient": "gray"}
SHOWN_CHECKS, SHOWN_EVENTS, EXAMPLES = 50, 500, 5
PAGES_OF = {Remedy.LABEL: "label", Remedy.BLOCK: "traffic", Remedy.PROMPT: "traffic", Remedy.ENGINE: "deployments"}
SHARES = {
    name: st.column_config.ProgressColumn(format="percent", min_value=0.0, max_value=1.0) for name in ("before", "now")
}


def show_verdicts(signals: list[DriftSignal]) -> None:
    """Say of which window the check is, and of each kind whether it changed."""
    first = signals[0]
    if first.window_started_at and first.window_ended_at:
        began, ended = f"{first.window_started_at:%Y-%m-%d %H:%M}", f"{first.window_ended_at:%Y-%m-%d %H:%M}"
        st.text(
            f"{first.current_rows:,} requests from {began} to {ended} UTC, against {first.reference_rows:,} before."
        )
    decisive = {s.kind: s for s in signals if s.feature == DECIDING}
    for kind in (kind for kind in DriftKind if kind in decisive):
        with st.container(horizontal=True, vertical_alignment="center"):
            verdict = decisive[kind].verdict
            st.badge(VERDICTS[verdict], color=COLORS[verdict])  # type: ignore[arg-type]  # literals, as in training_runs
            st.text(KINDS[kind])
    if as_it_stands(ledger, signals) != signals:
        st.text("A person accepted this as the new normal: later windows are held against it.")
    st.text(drift_tables.quality_sentence(signals))


def show_diagnosis(check_id: str, signals: list[DriftSignal], found: Diagnosis) -> None:
    """Draw what changed: findings, each with what would help, clusters, words and properties."""
    st.subheader("What changed", anchor=False)
    for number, finding in enumerate(found.findings):
        with st.container(border=True):
            st.text(finding.sentence)
            if finding.advice:
                st.text(finding.advice)
            show_remedy(finding, key=f"remedy_{check_id}_{number}")
    for number, cluster in enumerate(found.clusters):
        show_cluster(cluster, key=f"cluster_{check_id}_{number}")
    words, outputs = drift_tables.word_rows(found.words), drift_tables.output_rows(signals)
    left, right = st.columns(2)
    with left:
        st.caption("Words that are said more often")
        if words:
            page.table(words, column_config=SHARES)
        else:
            st.text("This check names no words.")
    with right:
        st.caption("Properties of prompts and answers")
        if found.changes:
            page.table(drift_tables.change_rows(found.changes))
        elif outputs:
            number_format = {"times its limit": st.column_config.NumberColumn(format="%.1f")}
            page.table(outputs, column_config=number_format)
        else:
            st.text("Nothing else is over its limit.")


def show_remedy(finding: Finding, *, key: str) -> None:
    """Draw the button of what would help."""
    if finding.remedy in PAGES_OF:
        ways.way(WHAT_HELPS[finding.remedy].capitalize(), PAGES_OF[finding.remedy], key=key)
    elif finding.remedy is Remedy.RETRAIN:
        ways.way("Retrain", "training_runs", key=key)


def show_cluster(cluster: NewCluster, *, key: str) -> None:
    """Draw requests that are like each other and unlike what was there before."""
    with st.container(border=True, key=key):
        st.text(drift_tables.cluster_title(cluster))
        for example in cluster.examples:
            st.code(example[: page.LONGEST_TEXT], language=None, wrap_lines=True)
        if cluster.request_ids:
            label = f"Label these {len(cluster.request_ids)}"
            ways.way(label, "label", key=f"{key}_label", type="primary", ids=",".join(cluster.request_ids))


def show_examples(version: ModelVersion | None, check_id: str, signals: list[DriftSignal]) -> None:
    """Draw requests of before and of the window side by side."""
    st.subheader("Examples", anchor=False)
    before, now = st.columns(2)
    with before:
        st.caption("Before: what the version was tested on")
        datasets = ledger.find(Dataset, id=version.dataset_id) if version else []
        rows = files.sample_rows(Path(datasets[0].path), "test", EXAMPLES) if datasets else []
        show_prompts([row["prompt"] for row in rows], "No test rows can be read.")
    with now:
        strange = next((s.details.strangest_prompts for s in signals if s.details.strangest_prompts), [])
        st.caption("Now: least like anything before" if strange else "Now: of this window")
        if not strange:
            found = ledger.find(Traffic, project=settings.project, check_id=check_id, limit=EXAMPLES, without=HEAVY)
            strange = [row.prompt for row in found]
        show_prompts(strange[:EXAMPLES], "The requests of this window are deleted, or it kept none.")


HEAVY = ("request", "response")


def show_prompts(prompts: list[str], otherwise: str) -> None:
    """Draw prompts, or say why there are none."""
    for prompt in prompts:
        st.code(prompt[: page.LONGEST_TEXT] or "(empty)", language=None, wrap_lines=True)
    if not prompts:
        st.text(otherwise)


def show_remedies(signals: list[DriftSignal]) -> None:
    """Draw what a person can do about it, whatever the check advises."""
    st.subheader("What to do", anchor=False)
    newest = moves.newest_retrain(ledger, settings.project)
    with st.container(horizontal=True):
        ways.way("Label some requests", "label", key="to_label")
        page.confirmed_action(
            "Retrain",
            partial(
                moves.request_retrain,
                settings.policy,
                ledger,
                settings.alias_key,
                seen=newest,
                by=page.cause(),
                caps=settings.dataset,
            ),
            "A retrain is recorded; the worker takes it next.",
            key="retrain",
            seen=[newest],
            question="Start a retrain from the labelled traffic now?",
        )
        ways.way("See the requests", "traffic", key="to_traffic")
        if drift_tables.can_be_accepted(queries.latest_check(ledger, settings.project), signals[0].check_id):
            page.confirmed_action(
                "Accept as the new normal",
                partial(
                    moves.accept_normal,
                    settings.monitor,
                    ledger,
                    settings.alias_key,
                    seen=signals[0].check_id,
                    by=page.cause(),
                ),
                "The next windows are held against this traffic.",
                key="accept_normal",
                seen=[signals[0].check_id],
                question="Hold all later traffic against what is asked and answered now? Quality is judged as before.",
            )


def show_numbers(signals: list[DriftSignal]) -> None:
    """Draw the statistics of a check, folded: who wants to know how it was judged opens them."""
    with st.expander("The numbers of this check", key=f"numbers-{signals[0].check_id}"):
        rows = [
            {name: getattr(s, name) for name in COLUMNS} for s in sorted(signals, key=lambda s: s.feature != DECIDING)
        ]
        page.table(
            [{k.replace("_", " "): str(v) if k in ("kind", "verdict") else v for k, v in row.items()} for row in rows],
            column_config={
                "p value": st.column_config.NumberColumn(format="%.2g"),
                "score": st.column_config.NumberColumn(format="%.4g"),
                "threshold": st.column_config.NumberColumn("limit", format="%.4g"),
                "method": st.column_config.TextColumn(width="medium"),
                "reference rows": st.column_config.NumberColumn("before", help="requests that it was compared with"),
                "current rows": st.column_config.NumberColumn("now", help="requests of the window"),
            },
        )
        for signal in signals:
            known = {k: v for k, v in queries.known_in(signal.details).items() if k != "diagnosis"}
            if signal.feature == DECIDING and known:
                st.text(f"What the check of {KINDS[signal.kind]} knew")
                page.facts(known)


def show_report(signals: list[DriftSignal]) -> None:
    """Draw Evidently's report, folded: its tests have limits of their own, which no budget of alarms has set."""
    box = st.expander("Evidently's report (uncalibrated)", key=f"report-{signals[0].check_id}", on_change="rerun")
    if not box.open:
        return
    with box:
        st.text("Its tests have fixed limits of their own: they decide nothing here, and may ring on steady traffic.")
        if any(s.report_path and (Path(s.report_path) / "report.html").is_file() for s in signals):
            # Same address, own origin: the server's policy sandboxes whatever this file holds.
            st.iframe(f"/reports/{signals[0].check_id}", height=900, alt="Evidently report of this check")
        else:
            st.text("No drawn report was kept for this check.")


def show_history(signals: list[DriftSignal]) -> None:
    """Draw scores over the traffic's own time, and the alarms."""
    st.subheader("Alarms", anchor=False)
    found = drift_tables.alarms(signals)
    if found:
        decisions = {d.check_id: d for d in queries.newest(ledger, RetrainDecision, settings.project) if d.check_id}
        events = events_of(ledger, settings.project, actions=[Action.ALARM, Action.NOTIFY], limit=SHOWN_EVENTS)
        page.table(drift_tables.alarm_rows(found, decisions, drift_tables.told_by_check(events)))
    else:
        st.text("No alarm rang in the newest checks.")
    st.caption(
        f"At most {queries.counted(settings.monitor.false_alarms_per_month, 'false alarm')} a month on steady traffic; "
        f"an alarm needs {queries.counted(settings.monitor.persistence, 'window')} in a row over the limit."
    )
    st.subheader("Over time", anchor=False)
    st.caption("Each point is a window, at the time of its traffic. Above the dashed line it is over its limit.")
    for kind in DriftKind:
        of_kind = [s for s in signals if s.kind is kind]
        if any(s.verdict is not DriftVerdict.INSUFFICIENT for s in of_kind):
            st.caption(KINDS[kind].capitalize())
            st.altair_chart(timelines.drift_timeline(of_kind), alt=f"{KINDS[kind]}: times its limit, by window")


settings, ledger = page.start(__file__, "Windows of live traffic against what the live version was judged on.")
signals = queries.deciding_signals(ledger, settings.project, limit=SHOWN_CHECKS * len(DriftKind))
if not signals:
    page.nothing_yet(
        "No window has been checked yet: the monitor needs a reference and a full window of traffic.",
        "driftwheel monitor",
    )
    st.stop()
checks = {s.check_id: s for s in signals}
check_id = st.selectbox(
    "Window (UTC)",
    list(dict.fromkeys(s.check_id for s in signals)),
    key="check",
    bind="query-params",
    format_func=lambda i: f"until {drift_tables.seen_at(checks[i]):%Y-%m-%d %H:%M:%S}  {i}",
)
shown = queries.newest(ledger, DriftSignal, settings.project, check_id=check_id)
show_verdicts(shown)
show_remedies(shown)
show_diagnosis(check_id, shown, drift_tables.diagnosis_of(shown))
without = ("scorecard", "verdict", "fingerprint", "lineage")
versions = ledger.find(ModelVersion, id=shown[0].version_id, without=without)
show_examples(versions[0] if versions else None, check_id, shown)
show_history(signals)
show_numbers(shown)
show_report(shown)
