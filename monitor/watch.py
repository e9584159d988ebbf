"""Traffic becomes drift signals and a decision, window by window, beside the gateway.

    python -m monitor watch --config driftwheel.yaml

`check` lists the steps in order. What was checked already is read from the ledger, so a restart goes on where
the last one stopped.
"""

import argparse
import signal
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from driftwheel import controls
from driftwheel.cli.command import add_common_arguments, open_ledger, settings_from
from driftwheel.errors import NotFoundError
from driftwheel.records import (
    DecisionStatus,
    DriftKind,
    DriftSignal,
    DriftVerdict,
    ModelVersion,
    RetrainDecision,
    new_id,
    utc_now,
)
from driftwheel.settings.settings import Settings
from driftwheel.store.alias import get_alias
from driftwheel.store.ledger import Ledger
from monitor import features
from monitor.calibration import level_per_decision
from monitor.drift import KindJudgment, judge_input, judge_output
from monitor.exporter import CheckCounter, start_exporter
from monitor.facts import gather_facts, trial_of
from monitor.observations import Reference, reference_of, traffic_of
from monitor.policy import decide
from monitor.quality import baseline_of, judge_engine, judge_quality
from monitor.report import write_report
from monitor.windows import Observation, Window, next_window

ALL = "all"
log = structlog.get_logger()


@dataclass(frozen=True)
class CheckResult:
    """What one check wrote."""

    signals: list[DriftSignal]
    decision: RetrainDecision


@dataclass(frozen=True)
class Look:
    """One window of one version under examination."""

    settings: Settings
    ledger: Ledger
    version: ModelVersion
    reference: Reference
    first: tuple[Observation, ...]
    window: Window
    check_id: str
    earlier: list[DriftSignal]
    """The version's decisive signals so far, newest first."""
    report_path: Path

    @property
    def level(self) -> float:
        """False-alarm probability of one decision."""
        monitor = self.settings.monitor
        return level_per_decision(monitor.false_alarms_per_month, monitor.windows_per_day)


def check(settings: Settings, ledger: Ledger) -> CheckResult | None:
    """Examine the next full window of the live version's traffic, or return None if there is none yet.

    Window and reference -> input and output drift -> quality -> engine -> report -> signals -> decision, and the
    way back from a version that disappoints.
    """
    look = _next_look(settings, ledger)
    if look is None:
        return None
    signals = [*_drift_signals(look), *_quality_signals(look), _engine_signal(look)]
    ledger.add(*signals)
    decision = controls.record(ledger, _decide(look, signals))
    if decision.remedy == "rollback":
        _roll_back(look, decision)
    verdicts = {s.kind.value: s.verdict.value for s in signals if s.feature == ALL}
    log.info("checked", version=look.version.id, decision=decision.verdict, remedy=decision.remedy, **verdicts)
    return CheckResult(signals, decision)


def watch(settings: Settings, stop: threading.Event) -> None:
    """Check until told to stop; a check that fails is logged and counted, and tried again at the next look."""
    ledger, failures = open_ledger(settings), CheckCounter()
    server = start_exporter(settings, ledger, failures)
    try:
        while not stop.is_set():
            try:
                has_more = check(settings, ledger) is not None
            except Exception:
                failures.count()
                log.exception("check failed")
                has_more = False
            if not has_more:
                stop.wait(settings.monitor.interval_seconds)
    finally:
        server.shutdown()
        server.server_close()
        ledger.close()


def _next_look(settings: Settings, ledger: Ledger) -> Look | None:
    try:
        alias = get_alias(ledger, settings.project, settings.serve.alias)
    except NotFoundError:
        return None
    version = ledger.get(ModelVersion, alias.observed_version_id or alias.version_id)
    rows = traffic_of(settings, ledger, version.id)
    earlier = ledger.find(DriftSignal, project=settings.project, version_id=version.id, feature=ALL)
    checked = frozenset(i for s in earlier if s.kind is DriftKind.ENGINE for i in s.details["request_ids"])
    window = next_window(rows, checked, settings.monitor.window_rows)
    if window is None:
        return None
    check_id = new_id("check", [version.id, window.rows[0].id, len(earlier)])
    first = tuple(rows[: settings.monitor.window_rows])
    folder = settings.root / "reports" / check_id
    reference = reference_of(settings, ledger, version)
    return Look(settings, ledger, version, reference, first, window, check_id, earlier, folder)


def _drift_signals(look: Look) -> list[DriftSignal]:
    """Judge input and output, draw the report, and return the decisive and the per-feature signals."""
    monitor, current = look.settings.monitor, look.window.answered
    pairs = [
        (DriftKind.INPUT, judge_input, look.reference.input),
        (DriftKind.OUTPUT, judge_output, look.reference.output),
    ]
    judged: list[tuple[KindJudgment, DriftVerdict]] = []
    signals: list[DriftSignal] = []
    for kind, judge_kind, reference in pairs:
        if min(len(reference), len(current)) < monitor.window_rows // 2:
            signals.append(_signal(look, kind, ALL, method="permutation", verdict=DriftVerdict.INSUFFICIENT))
            continue
        seed = len(look.earlier)
        result = judge_kind(reference, current, level=look.level, permutations=monitor.permutations, seed=seed)
        judged.append((result, _verdict(look, kind, result.judgment.is_over)))
    if not judged:
        return signals
    reference = look.reference.output or look.reference.input
    is_telling = any(verdict is not DriftVerdict.STEADY for _, verdict in judged) or len(look.earlier) == 0
    columns = write_report(reference, current, look.report_path, with_html=is_telling)
    for result, verdict in judged:
        signals += _kind_signals(look, result, verdict, columns)
    return signals


def _kind_signals(
    look: Look, result: KindJudgment, verdict: DriftVerdict, columns: dict[str, Any]
) -> list[DriftSignal]:
    judgment, reference = result.judgment, look.reference.input or look.reference.output
    details: dict[str, Any] = {"level": look.level, "features": {f.feature: f.score for f in result.features}}
    if result.kind is DriftKind.INPUT and verdict is not DriftVerdict.STEADY:
        details["shifted_words"] = features.shifted_words(reference, look.window.answered)
        details["strangest_prompts"] = features.strangest(reference, look.window.answered)
    decisive = _signal(
        look, result.kind, ALL, method="max-statistic permutation", verdict=verdict, score=judgment.score,
        threshold=judgment.threshold, p_value=judgment.p_value, details=details,
    )  # fmt: skip
    return [
        decisive,
        *(
            _signal(
                look, result.kind, f.feature, method=f.method, score=f.score, threshold=judgment.threshold,
                p_value=f.p_value, details={"evidently": columns.get(f.feature)},
                verdict=DriftVerdict.DRIFTED if f.score > judgment.threshold else DriftVerdict.STEADY,
            )
            for f in result.features
        ),
    ]  # fmt: skip


def _quality_signals(look: Look) -> list[DriftSignal]:
    monitor, baseline = look.settings.monitor, baseline_of(look.version.scorecard)
    quality = judge_quality(look.window.answered, baseline)
    details = {"accuracy": quality.accuracy, "baseline": baseline.accuracy, "labelled_rows": quality.labelled_rows}
    if quality.labelled_rows < monitor.min_labels:
        verdict = DriftVerdict.INSUFFICIENT
    else:
        verdict = _verdict(look, DriftKind.QUALITY, quality.is_lost(look.level, monitor.max_quality_drop))
    return [
        _signal(
            look, DriftKind.QUALITY, ALL, method="Fisher's exact test, one-sided", score=quality.drop,
            threshold=monitor.max_quality_drop, p_value=quality.p_value, details=details, verdict=verdict,
            current_rows=quality.labelled_rows, reference_rows=baseline.items,
        )
    ]  # fmt: skip


def _engine_signal(look: Look) -> DriftSignal:
    state = judge_engine(look.window.rows, look.first)
    return _signal(
        look, DriftKind.ENGINE, ALL, method="fixed limits", score=state.score, threshold=1.0,
        verdict=_verdict(look, DriftKind.ENGINE, state.score > 1.0), reference_rows=len(look.first),
        details={
            "error_share": state.error_share,
            "latency_ratio": state.latency_ratio,
            "request_ids": [row.id for row in look.window.rows],
        },
    )  # fmt: skip


def _verdict(look: Look, kind: DriftKind, is_over: bool) -> DriftVerdict:
    """Return drifted only after enough windows over the threshold in a row; unjudged ones are passed over."""
    if not is_over:
        return DriftVerdict.STEADY
    run = 1
    for signal_ in (s for s in look.earlier if s.kind is kind and s.verdict is not DriftVerdict.INSUFFICIENT):
        if signal_.verdict not in (DriftVerdict.SUSPECTED, DriftVerdict.DRIFTED):
            break
        run += 1
    return DriftVerdict.DRIFTED if run >= look.settings.monitor.persistence else DriftVerdict.SUSPECTED


def _signal(look: Look, kind: DriftKind, feature: str, **facts: Any) -> DriftSignal:
    at = utc_now()
    values: dict[str, Any] = {
        "id": new_id("signal", [look.check_id, kind, feature], at),
        "project": look.settings.project,
        "created_at": at,
        "version_id": look.version.id,
        "kind": kind,
        "feature": feature,
        "score": 0.0,
        "threshold": 0.0,
        "reference_rows": len(look.reference.output if kind is DriftKind.OUTPUT else look.reference.input),
        "current_rows": len(look.window.rows),
        "window_started_at": look.window.started_at,
        "window_ended_at": look.window.ended_at,
        "check_id": look.check_id,
        "report_path": str(look.report_path),
    }
    return DriftSignal(**{**values, **facts})


def _decide(look: Look, signals: list[DriftSignal]) -> RetrainDecision:
    decisive = {s.kind: s for s in signals if s.feature == ALL}
    drifted = frozenset(kind for kind, s in decisive.items() if s.verdict is DriftVerdict.DRIFTED)
    trial = trial_of(
        look.settings, look.ledger, look.version, look.window.answered,
        checks=len({s.check_id for s in look.earlier}), level=look.level,
        is_input_steady=decisive[DriftKind.INPUT].verdict in (DriftVerdict.STEADY, DriftVerdict.INSUFFICIENT),
    )  # fmt: skip
    quality = decisive[DriftKind.QUALITY]
    facts = gather_facts(look.settings, look.ledger, look.version, drifted, quality, utc_now(), trial)
    decision = decide(facts, look.settings.policy)
    at = utc_now()
    return RetrainDecision(
        id=new_id("decision", [look.check_id], at),
        project=look.settings.project,
        created_at=at,
        verdict=decision.verdict,
        status=decision.status,
        trigger=decision.trigger,
        remedy=decision.remedy,
        reasons=decision.reasons,
        check_id=look.check_id,
        known={
            "version_id": look.version.id,
            "verdicts": {kind.value: s.verdict.value for kind, s in decisive.items()},
            "fresh_labels": facts.fresh_labels,
            "refused_in_a_row": facts.refused_in_a_row,
        },
    )


def _roll_back(look: Look, decision: RetrainDecision) -> None:
    """Make the version before the desired one again, and say so where the version came from."""
    controls.rollback(look.settings, look.ledger)
    made = look.ledger.find(RetrainDecision, version_id=look.version.id, status=DecisionStatus.PROMOTED)
    for retrain in made:
        look.ledger.change(retrain, status=DecisionStatus.ROLLED_BACK, error="; ".join(decision.reasons))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)


def main(arguments: argparse.Namespace) -> None:
    """Watch until SIGINT or SIGTERM."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    watch(settings_from(arguments), stop)
