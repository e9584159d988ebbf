"""What people say about a retrain: go on, let its version go live, or not; and how one that runs is ended.

Each is a single change of the decision's row, which the worker sees before every step and twice a second in each.
"""

from driftwheel.control.retrain_limits import UNFINISHED, WAITING
from driftwheel.errors import ConflictError, NotFoundError
from driftwheel.records.by_whom import Action, Cause, me
from driftwheel.records.nouns import DecisionStatus, RetrainDecision
from driftwheel.store.events import note_with
from driftwheel.store.ledger import Ledger

APPROVED = {
    DecisionStatus.AWAITING_APPROVAL: DecisionStatus.OPEN,
    DecisionStatus.AWAITING_PROMOTION: DecisionStatus.PROMOTING,
}
REFUSED = {
    DecisionStatus.AWAITING_APPROVAL: DecisionStatus.REFUSED,
    DecisionStatus.AWAITING_PROMOTION: DecisionStatus.CANCELLED,
}


def approve(ledger: Ledger, project: str, decision_id: str, *, by: Cause | None = None) -> RetrainDecision:
    """Let the worker take a retrain that waits, or promote what it made; raises ConflictError if it does not wait."""
    decision = _waiting(ledger, project, decision_id)
    return _settle(ledger, decision, APPROVED[decision.status], Action.APPROVE, by or me())


def refuse(ledger: Ledger, project: str, decision_id: str, *, by: Cause | None = None) -> RetrainDecision:
    """Turn down a retrain that waits, or the promotion of what it made; raises ConflictError if it does not wait."""
    decision, by = _waiting(ledger, project, decision_id), by or me()
    error = None
    if decision.status is DecisionStatus.AWAITING_PROMOTION:
        error = _said(f"{by.actor} did not let {decision.version_id} go live", by)
    return _settle(ledger, decision, REFUSED[decision.status], Action.REFUSE, by, error)


def cancel(ledger: Ledger, project: str, decision_id: str, *, by: Cause | None = None) -> RetrainDecision:
    """End a retrain that waits or runs; the worker ends the step that it is at within seconds.

    Raises ConflictError for one that has ended, or whose version is being rolled out already.
    """
    decision, by = ledger.get(RetrainDecision, decision_id, project=project), by or me()
    if decision.status is DecisionStatus.PROMOTING:
        raise ConflictError(f"{decision_id} rolls its version out already; `driftwheel rollback` takes that back")
    if decision.status not in UNFINISHED:
        raise ConflictError(f"{decision_id} is {decision.status}: there is nothing to cancel")
    error = _said(f"cancelled by {by.actor}", by)
    return _settle(ledger, decision, DecisionStatus.CANCELLED, Action.CANCEL, by, error)


def waiting(ledger: Ledger, project: str) -> RetrainDecision:
    """Return the only decision that waits for a person; raises NotFoundError for none, ConflictError for several."""
    return _only(ledger, project, WAITING, f"no retrain of {project!r} waits for approval")


def unfinished(ledger: Ledger, project: str) -> RetrainDecision:
    """Return the retrain that could be cancelled; raises NotFoundError for none, ConflictError for several."""
    return _only(ledger, project, UNFINISHED, f"no retrain of {project!r} is under way")


def _only(ledger: Ledger, project: str, status: tuple[DecisionStatus, ...], none: str) -> RetrainDecision:
    found = ledger.find(RetrainDecision, project=project, status=status)
    if not found:
        raise NotFoundError(f"{none}; `driftwheel status` says what goes on")
    if len(found) > 1:
        raise ConflictError(f"{len(found)} retrains wait; name one: {', '.join(decision.id for decision in found)}")
    return found[0]


def _waiting(ledger: Ledger, project: str, decision_id: str) -> RetrainDecision:
    decision = ledger.get(RetrainDecision, decision_id, project=project)
    if decision.status not in WAITING:
        raise ConflictError(
            f"{decision_id} is {decision.status}, not awaiting approval; `driftwheel decisions` lists what does"
        )
    return decision


def _said(what: str, by: Cause) -> str:
    return f"{what}: {by.reason}" if by.reason else what


def _settle(
    ledger: Ledger,
    decision: RetrainDecision,
    status: DecisionStatus,
    action: Action,
    by: Cause,
    error: str | None = None,
) -> RetrainDecision:
    before, after = {"status": decision.status}, {"status": status}
    with ledger.write() as connection:
        settled = ledger.change_with(connection, decision, status=status, error=error)
        note_with(ledger, connection, by, action, decision.project, decision.id, before=before, after=after)
    return settled
