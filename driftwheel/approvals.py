"""What people say about a retrain that waits for them: go on, or not."""

from driftwheel.by_whom import Action, Cause, me
from driftwheel.errors import ConflictError, NotFoundError
from driftwheel.records import DecisionStatus, RetrainDecision
from driftwheel.store.events import note_with
from driftwheel.store.ledger import Ledger


def approve(ledger: Ledger, project: str, decision_id: str, *, by: Cause | None = None) -> RetrainDecision:
    """Let the worker take a decision that waits; raises ConflictError if it does not wait."""
    return _settle(ledger, project, decision_id, DecisionStatus.OPEN, Action.APPROVE, by)


def refuse(ledger: Ledger, project: str, decision_id: str, *, by: Cause | None = None) -> RetrainDecision:
    """Turn down a decision that waits; raises ConflictError if it does not wait."""
    return _settle(ledger, project, decision_id, DecisionStatus.REFUSED, Action.REFUSE, by)


def waiting(ledger: Ledger, project: str) -> RetrainDecision:
    """Return the only decision that waits for a person; raises NotFoundError for none, ConflictError for several."""
    found = ledger.find(RetrainDecision, project=project, status=DecisionStatus.AWAITING_APPROVAL)
    if not found:
        raise NotFoundError(f"no retrain of {project!r} waits for approval; `driftwheel status` says what goes on")
    if len(found) > 1:
        raise ConflictError(f"{len(found)} retrains wait; name one: {', '.join(decision.id for decision in found)}")
    return found[0]


def _settle(
    ledger: Ledger, project: str, decision_id: str, status: DecisionStatus, action: Action, by: Cause | None
) -> RetrainDecision:
    decision = ledger.get(RetrainDecision, decision_id, project=project)
    if decision.status is not DecisionStatus.AWAITING_APPROVAL:
        raise ConflictError(f"{decision_id} is {decision.status}, not awaiting approval")
    before, after = {"status": decision.status}, {"status": status}
    with ledger.write() as connection:
        settled = ledger.change_with(connection, decision, status=status)
        note_with(ledger, connection, by or me(), action, project, decision_id, before=before, after=after)
    return settled
