"""Gathers the facts for the policy from the ledger."""

from collections.abc import Callable
from datetime import datetime

from driftwheel.control import controls
from driftwheel.control.retrain_limits import history_of
from driftwheel.records.alias_key import AliasKey
from driftwheel.records.check_details import DECIDING
from driftwheel.records.nouns import (
    Alias,
    Dataset,
    DecisionVerdict,
    DriftKind,
    DriftSignal,
    DriftVerdict,
    ModelVersion,
    RetrainDecision,
)
from driftwheel.settings.watching import MonitorSettings, PolicySettings
from driftwheel.store.alias import get_alias
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.traffic.fresh_labels import Caps, fresh_labels
from monitor.opinions import WindowEvidence
from monitor.policy import PolicyFacts, Trial
from monitor.quality import judge_window
from monitor.standard import Baseline


def gather_facts(
    ledger: Ledger,
    key: AliasKey,
    version: ModelVersion,
    drifted: frozenset[DriftKind],
    quality: DriftSignal,
    now: datetime,
    trial: Trial | None,
    caps: Caps,
) -> PolicyFacts:
    """Read from the ledger what the policy may know."""
    retrains = ledger.find(RetrainDecision, project=key.project, verdict=DecisionVerdict.RETRAIN)
    return PolicyFacts(
        **vars(history_of(retrains, now, is_paused=controls.is_paused(ledger, key.project))),
        drifted=drifted,
        fresh_labels=fresh_labels(ledger, key, ledger.get(Dataset, version.dataset_id).created_at, caps),
        quality_text=quality_text(quality),
        is_quality_known=quality.verdict is not DriftVerdict.INSUFFICIENT,
        is_quality_suspected=quality.verdict is DriftVerdict.SUSPECTED,
        is_quality_proved=quality.details.is_proved is not False,
        live_since=get_alias(ledger, *key).updated_at,
        trial=trial,
    )


def quality_text(quality: DriftSignal) -> str:
    """Say the quality signal in words."""
    details, told = quality.details, in_unit_of(quality)
    measure = "accuracy" if details.criterion is None else f"grade by {details.criterion}"
    judged = f", {told(details.baseline)} when the version was judged" if details.baseline is not None else ""
    if quality.verdict is not DriftVerdict.INSUFFICIENT and details.accuracy is not None:
        return f"{measure} {told(details.accuracy)} on {quality.current_rows} labelled rows{judged}"
    if details.is_proved:
        before, less = told(details.baseline or 0), told(quality.score)
        return f"{measure} {before} when the version was judged, now at least {less} less"
    said = f": {'; '.join(details.said)}" if details.said else ""
    if quality.verdict is DriftVerdict.INSUFFICIENT:
        return f"quality is unknown ({quality.current_rows} labelled rows in the window){said}"
    if details.estimate is not None and details.criterion is not None:
        said = (
            f": {measure} {told(details.estimate)} on {quality.current_rows} labels{judged}{said.replace(':', ';', 1)}"
        )
    elif details.estimate is not None:
        said = f": {details.estimate:.1%} of {quality.current_rows} labels say right{judged}{said.replace(':', ';', 1)}"
    return f"quality is only estimated{said}"


def in_unit_of(quality: DriftSignal) -> Callable[[float], str]:
    """Return how the signal's numbers are written: shares in percent, grades of 100."""
    return "{:.1%}".format if quality.details.criterion is None else lambda value: f"{100 * value:.1f} of 100"


def trial_of(
    monitor: MonitorSettings,
    policy: PolicySettings,
    ledger: Ledger,
    alias: Alias,
    version: ModelVersion,
    window: WindowEvidence,
    *,
    checks: int,
    level: float,
    is_input_steady: bool,
) -> Trial | None:
    """Compare a window of a version that was checked `checks` times before with the last one of its predecessor.

    None when its probation is over, when nothing came before it, or when the alias is about to move anyway.
    """
    previous_id = alias.previous_version_id
    if previous_id is None or checks >= policy.trial_windows or alias.version_id != version.id:
        return None
    engine = _newest_decisive(ledger, previous_id, DriftKind.ENGINE)
    judged = _newest_decisive(ledger, previous_id, DriftKind.QUALITY)
    is_worse, text = False, "the version before was never judged on traffic"
    if judged is not None and judged.details.accuracy is not None:
        last, told = Baseline(judged.details.accuracy * judged.current_rows, judged.current_rows), in_unit_of(judged)
        quality = judge_window(window, are_labels_sampled=monitor.labels_are_sampled, baseline=last)
        has_labels = quality.labelled_rows >= monitor.min_labels
        is_worse = has_labels and quality.is_lost(level, monitor.max_quality_drop)
        text = (
            f"{'accuracy' if judged.details.criterion is None else 'grade'} {told(quality.accuracy)} "
            f"on {quality.labelled_rows} labelled rows, the version before had {told(last.accuracy)} on {last.items}"
        )
    is_sound = engine is None or engine.verdict is DriftVerdict.STEADY
    return Trial(
        previous_id=previous_id,
        is_worse=is_worse,
        had_sound_engine=is_sound,
        is_input_steady=is_input_steady,
        text=text,
    )


def _newest_decisive(ledger: Ledger, version_id: str, kind: DriftKind) -> DriftSignal | None:
    """Return the newest signal that decided a kind for a version; a window with too few rows decided nothing."""
    is_judged = TABLES[DriftSignal].c.verdict != DriftVerdict.INSUFFICIENT
    found = ledger.find(DriftSignal, is_judged, version_id=version_id, feature=DECIDING, kind=kind, limit=1)
    return found[0] if found else None
