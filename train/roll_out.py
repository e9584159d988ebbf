"""Rolls a published version out: with a person's word where one is asked for, and back if the gateway refuses it."""

import time

import structlog

from driftwheel.control import controls
from driftwheel.control.gateway_reports import wait_until_observed
from driftwheel.errors import CancelledError, ConflictError, EngineError, GateError, NotFoundError
from driftwheel.records.alias_key import AliasKey
from driftwheel.records.by_whom import process
from driftwheel.records.nouns import Alias, DecisionStatus, RetrainDecision
from driftwheel.settings.serving import ServeSettings
from driftwheel.settings.watching import PolicySettings
from driftwheel.store.ledger import Ledger

POLL_SECONDS = 0.5
log = structlog.get_logger()


def wait_for_word(policy: PolicySettings, ledger: Ledger, decision_id: str) -> None:
    """Return once a retrain's version may go live: at once, or when a person has said so and nothing is paused.

    From then on the retrain can no more be cancelled. Raises CancelledError if a person said no.
    """
    decision = ledger.get(RetrainDecision, decision_id)
    if decision.status is DecisionStatus.RUNNING:
        status = DecisionStatus.AWAITING_PROMOTION if policy.asks_for_promotion else DecisionStatus.PROMOTING
        decision = _changed(ledger, decision, status)
        log.info("promotion", decision=decision_id, status=decision.status)
    while decision.status is DecisionStatus.AWAITING_PROMOTION or _is_held(ledger, decision):
        time.sleep(POLL_SECONDS)
        decision = ledger.get(RetrainDecision, decision_id)
    if decision.status is not DecisionStatus.PROMOTING:
        raise CancelledError(decision.error or f"{decision_id} is {decision.status}")


def _is_held(ledger: Ledger, decision: RetrainDecision) -> bool:
    return decision.status is DecisionStatus.PROMOTING and controls.is_paused(ledger, decision.project)


def _changed(ledger: Ledger, decision: RetrainDecision, status: DecisionStatus) -> RetrainDecision:
    try:
        return ledger.change(decision, status=status)
    except ConflictError:  # a person has cancelled it in this moment
        return ledger.get(RetrainDecision, decision.id)


def roll_out(serve: ServeSettings, ledger: Ledger, key: AliasKey, version_id: str, *, seen_fence: int | None) -> int:
    """Make a version the desired one, wait until the gateway serves it, and return the alias' fence.

    Raises ConflictError if the alias was moved since the version was judged, EngineError if the gateway refuses the
    version or serves nothing; then the version before it is the desired one again, as it is the one that serves.
    """
    alias = controls.promote_judged(ledger, key, version_id, seen_fence=seen_fence)
    try:
        return wait_until_observed(serve, ledger, alias).fence
    except EngineError as error:
        _go_back(ledger, key, alias, str(error))
        raise


def _go_back(ledger: Ledger, key: AliasKey, alias: Alias, reason: str) -> None:
    """Let the alias want no version that nobody serves; the first version has none before it, and stays."""
    try:
        controls.rollback(ledger, key, fence=alias.fence, by=process("worker", reason))
    except (ConflictError, GateError, NotFoundError) as error:
        log.warning("the alias stays where it is", alias=key.name, version=alias.version_id, reason=str(error))
