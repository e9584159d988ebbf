"""What stands against another retrain, whoever asks: pause, an unfinished one, cool-down, budget, breaker; pure."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from driftwheel.records.nouns import DecisionStatus, RetrainDecision
from driftwheel.settings.watching import PolicySettings

NOT_PROMOTED = (DecisionStatus.REFUSED, DecisionStatus.FAILED, DecisionStatus.ROLLED_BACK)
WAITING = (DecisionStatus.AWAITING_APPROVAL, DecisionStatus.AWAITING_PROMOTION)
"""For a person's word."""
AT_WORK = (DecisionStatus.RUNNING, DecisionStatus.AWAITING_PROMOTION, DecisionStatus.PROMOTING)
"""The worker has it, and goes on with it after a restart."""
UNFINISHED = (DecisionStatus.AWAITING_APPROVAL, DecisionStatus.OPEN, *AT_WORK)
"""There is one such retrain at a time."""


@dataclass(frozen=True, kw_only=True)
class RetrainHistory:
    """The retrains of a project so far, as far as limits ask for them."""

    now: datetime
    is_paused: bool = False
    is_retraining: bool = False
    """A retrain waits or runs."""
    last_retrain_at: datetime | None = None
    retrains_last_day: int = 0
    refused_in_a_row: int = 0
    """Since the last promotion, those that ended without one, or with one that was rolled back."""


def history_of(retrains: Sequence[RetrainDecision], now: datetime, *, is_paused: bool) -> RetrainHistory:
    """Return what counts of the decisions to retrain, which are given newest first.

    One that a person turned down was no retrain: it costs no budget, starts no cool-down, and no candidate failed.
    """
    begun = [decision for decision in retrains if not was_turned_down(decision)]
    since = itertools.takewhile(lambda d: d.status is not DecisionStatus.PROMOTED, begun)
    return RetrainHistory(
        now=now,
        is_paused=is_paused,
        is_retraining=any(decision.status in UNFINISHED for decision in retrains),
        last_retrain_at=begun[0].created_at if begun else None,
        # A retrain ahead of the clock means that the clock was set back; it still counts against the budget.
        retrains_last_day=sum(abs(now - d.created_at) < timedelta(days=1) for d in begun),
        refused_in_a_row=sum(decision.status in NOT_PROMOTED for decision in since),
    )


def was_turned_down(decision: RetrainDecision) -> bool:
    """Say whether a person ended a decision before it made anything to judge.

    What the gate refuses has a Dataset by then, and what a person did not let go live was a retrain all the same.
    """
    if decision.status is DecisionStatus.CANCELLED:
        return decision.version_id is None
    return decision.status is DecisionStatus.REFUSED and decision.dataset_id is None


def obstacles(policy: PolicySettings, history: RetrainHistory) -> list[str]:
    """Return what stands against another retrain now, in words."""
    found = []
    if history.is_paused:
        found.append("retraining is paused")
    if history.is_retraining:
        found.append("another retrain is under way")
    if history.last_retrain_at is not None:
        # A retrain in the future means that the clock was set back; the pause then still ends.
        waited = abs((history.now - history.last_retrain_at).total_seconds())
        if waited < policy.cooldown_seconds:
            found.append(f"cool-down: {policy.cooldown_seconds - waited:.0f} s left")
    if history.retrains_last_day >= policy.max_retrains_per_day:
        found.append(f"{history.retrains_last_day} retrains in 24 hours, the budget is {policy.max_retrains_per_day}")
    if history.refused_in_a_row >= policy.max_failed_gates:
        found.append(f"{history.refused_in_a_row} candidates in a row were refused: a person must start the next")
    return found


def lacking_labels(policy: PolicySettings, fresh_labels: int) -> str | None:
    """Say how many labelled rows are missing for a retrain, if any are."""
    if fresh_labels >= policy.min_fresh_labels:
        return None
    return f"{fresh_labels} fresh labelled rows, {policy.min_fresh_labels} needed: label more"
