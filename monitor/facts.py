"""The ledger becomes what the policy may know."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

from driftwheel import controls
from driftwheel.records import (
    Dataset,
    DecisionStatus,
    DecisionVerdict,
    DriftKind,
    DriftSignal,
    DriftVerdict,
    ModelVersion,
    RetrainDecision,
    Traffic,
)
from driftwheel.settings.settings import Settings
from driftwheel.store.alias import get_alias
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from monitor.policy import PolicyFacts, Trial
from monitor.quality import Baseline, judge_quality
from monitor.windows import Observation

NOT_PROMOTED = (DecisionStatus.REFUSED, DecisionStatus.FAILED, DecisionStatus.ROLLED_BACK)


def gather_facts(
    settings: Settings,
    ledger: Ledger,
    version: ModelVersion,
    drifted: frozenset[DriftKind],
    quality: DriftSignal,
    now: datetime,
    trial: Trial | None = None,
) -> PolicyFacts:
    """Read from the ledger what the policy may know."""
    retrains = ledger.find(RetrainDecision, project=settings.project, verdict=DecisionVerdict.RETRAIN)
    refused = 0
    for decision in retrains:
        if decision.status is DecisionStatus.PROMOTED:
            break
        refused += decision.status in NOT_PROMOTED
    columns = TABLES[Traffic].c
    since = ledger.get(Dataset, version.dataset_id).created_at
    labelled = ledger.count(
        Traffic, columns.label.is_not(None), sa.func.coalesce(columns.feedback_at, columns.created_at) > since,
        project=settings.project, alias=settings.serve.alias,
    )  # fmt: skip
    return PolicyFacts(
        now=now,
        drifted=drifted,
        fresh_labels=labelled,
        quality_text=quality_text(quality),
        is_quality_known=quality.verdict is not DriftVerdict.INSUFFICIENT,
        is_quality_suspected=quality.verdict is DriftVerdict.SUSPECTED,
        live_since=get_alias(ledger, settings.project, settings.serve.alias).updated_at,
        is_paused=controls.is_paused(settings, ledger),
        is_retraining=any(d.status in controls.UNFINISHED for d in retrains),
        last_retrain_at=retrains[0].created_at if retrains else None,
        retrains_last_day=sum(abs(now - d.created_at) < timedelta(days=1) for d in retrains),
        refused_in_a_row=refused,
        trial=trial,
    )


def quality_text(quality: DriftSignal) -> str:
    """Say the quality signal in words."""
    if quality.verdict is DriftVerdict.INSUFFICIENT:
        return f"quality is unknown ({quality.current_rows} labelled rows in the window)"
    numbers = f"accuracy {quality.details['accuracy']:.1%} on {quality.current_rows} labelled rows"
    return f"{numbers}, {quality.details['baseline']:.1%} when the version was judged"


def trial_of(
    settings: Settings,
    ledger: Ledger,
    version: ModelVersion,
    rows: Sequence[Observation],
    *,
    checks: int,
    level: float,
    is_input_steady: bool,
) -> Trial | None:
    """Compare a window of a version that was checked `checks` times before with the last one of its predecessor.

    None when it is past its trial, when nothing came before it, or when the alias is about to move anyway.
    """
    alias = get_alias(ledger, settings.project, settings.serve.alias)
    previous_id = alias.previous_version_id
    if previous_id is None or checks >= settings.policy.trial_windows or alias.version_id != version.id:
        return None
    before = ledger.find(DriftSignal, project=settings.project, version_id=previous_id, feature="all")
    engine = next((s for s in before if s.kind is DriftKind.ENGINE), None)
    judged = [s for s in before if s.kind is DriftKind.QUALITY and s.verdict is not DriftVerdict.INSUFFICIENT]
    is_worse, text = False, "the version before was never judged on traffic"
    if judged:
        last = Baseline(round(judged[0].details["accuracy"] * judged[0].current_rows), judged[0].current_rows)
        quality = judge_quality(rows, last)
        has_labels = quality.labelled_rows >= settings.monitor.min_labels
        is_worse = has_labels and quality.is_lost(level, settings.monitor.max_quality_drop)
        text = (
            f"accuracy {quality.accuracy:.1%} on {quality.labelled_rows} labelled rows, "
            f"the version before had {last.accuracy:.1%} on {last.items}"
        )
    is_sound = engine is None or engine.verdict is DriftVerdict.STEADY
    return Trial(
        previous_id=previous_id,
        is_worse=is_worse,
        had_sound_engine=is_sound,
        is_input_steady=is_input_steady,
        text=text,
    )
