"""Turns a check's judgments into drift signals: input, output, quality and engine; an alarm needs several windows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from driftwheel.identity import new_id, utc_now
from driftwheel.records.check_details import DECIDING, ColumnDrift, SignalDetails
from driftwheel.records.nouns import DriftKind, DriftSignal, DriftVerdict
from driftwheel.settings.watching import MonitorSettings
from monitor import wording
from monitor.diagnosing import Case, diagnose
from monitor.drift import KindJudgment, judge_kind
from monitor.engine_state import judge_engine
from monitor.features import Feature
from monitor.known_rows import Rows, Standard, Standards, rows_of, window_of
from monitor.look import Look
from monitor.observation import Sample
from monitor.pools import pools_of
from monitor.quality import NOTHING, assess
from monitor.references import Reference, baseline_of
from monitor.report import write_report
from monitor.scan import scan

SHARE_OF_SCAN = 0.8
"""Of the level; the permutations see large changes only, and those in any case."""
SCAN, SMALLEST = "scan of signals, words and labels", 1e-300
PROOF = "betting on a fall of the accuracy, restarted"


class Compared(Protocol):
    """A reference and what is held against it: a look, or any other two samples."""

    @property
    def monitor(self) -> MonitorSettings: ...
    @property
    def level(self) -> float: ...
    @property
    def number(self) -> int: ...
    @property
    def reference(self) -> Reference: ...
    @property
    def sample(self) -> Sample: ...
    @property
    def standards(self) -> Standards: ...
    @property
    def earlier(self) -> tuple[Rows, ...]: ...


def judge_drift(look: Compared, features: Sequence[Feature]) -> list[KindJudgment]:
    """Judge input and output, or those of the two that have rows enough on both sides; they share the level."""
    all_of = look.reference
    references = {
        DriftKind.INPUT: (all_of.input, all_of.input_once),
        DriftKind.OUTPUT: (all_of.output, all_of.output_once),
    }
    current, monitor = rows_of(look.sample.answered), look.monitor
    judged: list[KindJudgment] = []
    for kind, (reference, once) in references.items():
        # Where more than half have failed, the rest says what the engine did and not what users ask.
        if min(len(reference), len(current.observations)) < monitor.window_rows // 2:
            continue
        result = judge_kind(
            kind,
            once,
            current.observations,
            level=look.level * (1 - SHARE_OF_SCAN if _standard(look, kind) else 1.0),
            permutations=monitor.permutations,
            seed=look.number,  # a look that is repeated judges as before, and no dealing decides all windows
            features=features,
        )
        judged.append(_scanned(look, result, current, is_input_steady=not any(one.is_over for one in judged)))
    return judged


def _standard(look: Compared, kind: DriftKind) -> Standard | None:
    return look.standards.input if kind is DriftKind.INPUT else look.standards.output


def _scanned(look: Compared, result: KindJudgment, current: Rows, *, is_input_steady: bool) -> KindJudgment:
    """Add what single signals, words and labels say, and the diagnosis where either is over."""
    standard = _standard(look, result.kind)
    if standard is None or not current.observations:
        return result
    windows = [window_of(rows, standard) for rows in (*look.earlier, current) if rows.observations]
    found = scan(result.kind, standard.reference, pools_of(windows), standard.learned, level=look.level * SHARE_OF_SCAN)
    result = replace(result, scan=found)
    if not result.is_over:
        return result
    case = Case(
        scan=found,
        windows=windows,
        reference=standard.reference,
        raw=look.sample.answered,
        is_input_steady=is_input_steady and result.kind is DriftKind.OUTPUT,
    )
    return replace(result, diagnosis=diagnose(case))


def draw_report(look: Look, judged: Sequence[KindJudgment], features: Sequence[Feature]) -> dict[str, ColumnDrift]:
    """Write the report of what was judged, where it tells something; return what it says about each column."""
    # It costs a hundred times what the check does, and its page takes 4 MB. The first window shows how things look when
    # all is well, the others where something is over.
    if not judged or not (any(result.is_over for result in judged) or look.number == 1):
        return {}
    reference = look.reference.output or look.reference.input
    over = {f.feature for result in judged for f in result.features if f.score > result.judgment.threshold}
    return write_report(
        features,
        reference,
        look.sample.answered,
        look.report_path,
        drifted=over,
        has_drifted=any(result.is_over for result in judged),
    )


def drift_signals(look: Look, judged: Sequence[KindJudgment], columns: dict[str, ColumnDrift]) -> list[DriftSignal]:
    """Return the decisive signals of input and output, and one for each feature of what was judged."""
    signals = [
        replace(_blank(look, kind), method="permutation", verdict=DriftVerdict.INSUFFICIENT)
        for kind in (DriftKind.INPUT, DriftKind.OUTPUT)
        if kind not in {result.kind for result in judged}
    ]
    for result in judged:
        verdict = _verdict(look, result.kind, result.is_over, is_slow=result.is_slow)
        signals += [_decisive(look, result, verdict), *_feature_signals(look, result, columns)]
    return signals


def _decisive(look: Look, result: KindJudgment, verdict: DriftVerdict) -> DriftSignal:
    reference = look.reference.input or look.reference.output
    details = SignalDetails(
        level=look.level, features={f.feature: f.score for f in result.features}, diagnosis=result.diagnosis
    )
    if result.kind is DriftKind.INPUT and verdict is not DriftVerdict.STEADY:
        known = result.diagnosis.words if result.diagnosis else []
        details = replace(
            details,
            shifted_words=[word.word for word in known] or wording.shifted_words(reference, look.sample.answered),
            strangest_prompts=wording.strangest(reference, look.sample.answered),
        )
    return replace(_blank(look, result.kind), verdict=verdict, details=details, **vars(deciding(result)))


@dataclass(frozen=True, kw_only=True)
class Deciding:
    """The test that decided a kind."""

    method: str
    score: float
    threshold: float
    p_value: float


def deciding(result: KindJudgment) -> Deciding:
    """Return which of both tests decided, and the p-value of the two together."""
    judgment = result.judgment
    both = [judgment.p_value, *([result.scan.p_value] if result.scan else [])]
    p_value = min(1.0, len(both) * min(both))
    if result.scan is not None and result.scan.is_over and not judgment.is_over:
        score, threshold = (-math.log10(max(SMALLEST, p)) for p in (result.scan.p_value, result.scan.level))
        return Deciding(method=SCAN, score=score, threshold=threshold, p_value=p_value)
    return Deciding(
        method="max-statistic permutation", score=judgment.score, threshold=judgment.threshold, p_value=p_value
    )


def _feature_signals(look: Look, result: KindJudgment, columns: dict[str, ColumnDrift]) -> list[DriftSignal]:
    threshold = result.judgment.threshold
    return [
        replace(
            _blank(look, result.kind, feature.feature),
            method=feature.method,
            score=feature.score,
            threshold=threshold,
            p_value=feature.p_value,
            verdict=DriftVerdict.DRIFTED if feature.score > threshold else DriftVerdict.STEADY,
            details=SignalDetails(evidently=columns.get(feature.feature)),
        )
        for feature in result.features
    ]


def quality_signal(look: Look) -> DriftSignal:
    """Hold what was said about the version's answers, whenever it came, against what the version was judged at."""
    monitor, baseline = look.monitor, baseline_of(look.version)
    known = assess(
        look.evidence.windows,
        baseline,
        level=look.level,
        min_labels=monitor.min_labels,
        max_drop=monitor.max_quality_drop,
        are_labels_sampled=monitor.labels_are_sampled,
    )
    is_estimate = bool(known.risen) and not known.is_proved
    if look.evidence.has_news and (known.is_judged or known.is_proved or is_estimate):
        verdict = _verdict(look, DriftKind.QUALITY, known.is_proved or is_estimate)
    else:
        verdict = DriftVerdict.INSUFFICIENT
    share = known.accuracy
    low, high = share.interval if share else (None, None)
    return replace(
        _blank(look, DriftKind.QUALITY),
        method=PROOF if not is_estimate else "Fisher's exact test of rates, an estimate",
        score=known.drop,
        threshold=monitor.max_quality_drop,
        p_value=known.p_value,
        verdict=verdict,
        current_rows=known.labelled,
        reference_rows=baseline.items,
        details=SignalDetails(
            accuracy=share.value if share else None,
            accuracy_low=low,
            accuracy_high=high,
            estimate=known.estimate.value if known.estimate else None,
            basis=(known.accuracy or known.estimate or NOTHING).basis,
            baseline=baseline.accuracy,
            criterion=look.source.criterion,
            labelled_rows=known.labelled,
            is_proved=known.is_proved,
            said=[rate.text for rate in (known.risen or known.rates) if rate.of],
        ),
    )


def engine_signal(look: Look) -> DriftSignal:
    """Hold the window's failures and latency against fixed limits."""
    state = judge_engine(look.sample.rows, look.first)
    return replace(
        _blank(look, DriftKind.ENGINE),
        method="fixed limits",
        score=state.score,
        threshold=1.0,
        verdict=_verdict(look, DriftKind.ENGINE, state.score > 1.0),
        reference_rows=len(look.first),
        details=SignalDetails(error_share=state.error_share, latency_ratio=state.latency_ratio),
    )


def _verdict(look: Look, kind: DriftKind, is_over: bool, *, is_slow: bool = False) -> DriftVerdict:
    """Return drifted only after enough windows over the threshold in a row; unjudged ones are passed over.

    What only several windows together show has lasted already.
    """
    if not is_over:
        return DriftVerdict.STEADY
    if is_slow:
        return DriftVerdict.DRIFTED
    run = look.over_in_a_row(kind) + 1
    return DriftVerdict.DRIFTED if run >= look.monitor.persistence else DriftVerdict.SUSPECTED


def over_in_a_row(look: Look, signals: Sequence[DriftSignal]) -> dict[str, int]:
    """Return for each kind how many windows in a row, with this one, were over the threshold."""
    counted = {}
    for signal in (s for s in signals if s.feature == DECIDING):
        before = look.over_in_a_row(signal.kind)
        unchanged_or_over = before if signal.verdict is DriftVerdict.INSUFFICIENT else before + 1
        counted[signal.kind.value] = 0 if signal.verdict is DriftVerdict.STEADY else unchanged_or_over
    return counted


def _blank(look: Look, kind: DriftKind, feature: str = DECIDING) -> DriftSignal:
    """Return a signal of this look that says nothing yet."""
    at = utc_now()
    return DriftSignal(
        id=new_id("signal", [look.check_id, kind, feature], at),
        project=look.project,
        created_at=at,
        version_id=look.version.id,
        kind=kind,
        feature=feature,
        method="",
        score=0.0,
        threshold=0.0,
        reference_rows=len(look.reference.output if kind is DriftKind.OUTPUT else look.reference.input),
        current_rows=len(look.sample.rows),
        window_started_at=look.sample.started_at,
        window_ended_at=look.sample.ended_at,
        verdict=DriftVerdict.INSUFFICIENT,
        check_id=look.check_id,
        report_path=str(look.report_path),
    )
