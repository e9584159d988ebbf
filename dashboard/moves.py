"""Moves that a person makes on the world that was drawn: refused in plain words where it has moved on meanwhile.

A page is a picture of the past. Each function here takes what the page showed (the alias' fence, the newest retrain,
the mark of the pause switch) and changes the ledger only if that still holds: nobody overrides what they never saw.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dashboard.queries import age, version_names
from driftwheel.control import approvals, controls
from driftwheel.control.retrain_limits import WAITING
from driftwheel.errors import ConflictError
from driftwheel.evidence.judgements import record_judgement
from driftwheel.records.alias_key import AliasKey
from driftwheel.records.bookkeeping import Judgement, Preference
from driftwheel.records.by_whom import Cause
from driftwheel.records.nouns import Alias, DecisionStatus, DecisionVerdict, ModelVersion, RetrainDecision
from driftwheel.records.training_plan import TrainingPlan
from driftwheel.settings.watching import MonitorSettings, PolicySettings
from driftwheel.store.alias import find_alias
from driftwheel.store.ledger import Ledger
from driftwheel.traffic import new_normal
from driftwheel.traffic.fresh_labels import Caps
from driftwheel.traffic.new_normal import NewNormal

LOOK_AGAIN = "Nothing was changed: look again, and decide anew."
SETTLED = {
    DecisionStatus.OPEN: "was approved",
    DecisionStatus.RUNNING: "was approved and is running",
    DecisionStatus.PROMOTED: "was approved, and its version is live",
    DecisionStatus.PROMOTING: "was approved, and its version goes live",
    DecisionStatus.AWAITING_PROMOTION: "was approved, and its version waits for a person",
    DecisionStatus.REFUSED: "was refused",
    DecisionStatus.CANCELLED: "was cancelled",
    DecisionStatus.ROLLED_BACK: "was approved, and its version was rolled back",
    DecisionStatus.FAILED: "was approved, and has failed",
    DecisionStatus.CLOSED: "was closed",
}


def seen_fence(alias: Alias | None) -> int:
    """Return the fence that a page shows; 0 stands for an alias that nobody has promoted to yet."""
    return alias.fence if alias is not None else 0


def promote(
    ledger: Ledger, key: AliasKey, version_id: str, *, fence: int, shares: Sequence[float] = (), by: Cause | None = None
) -> Alias:
    """Make a version the desired one, all at once or by a canary that first gets these shares of the requests.

    Raises ConflictError if the alias has moved since the page was drawn.
    """
    with _told(ledger, key, fence):
        return controls.promote(ledger, key, version_id, fence=fence, canary_shares=shares, by=by)


def shadow(ledger: Ledger, project: str, version_id: str, *, seen: str, by: Cause | None = None) -> None:
    """Have live requests copied to a version, or with an empty id to none.

    Raises ConflictError if they are copied to another version than the page showed.
    """
    try:
        controls.set_shadow(ledger, project, version_id, seen=seen, by=by)
    except ConflictError as error:
        raise ConflictError(f"Somebody changed the shadow meanwhile. {LOOK_AGAIN}") from error


def rollback(ledger: Ledger, key: AliasKey, *, fence: int, by: Cause | None = None) -> Alias:
    """Go back to the version that the page named; raises ConflictError if the alias has moved since."""
    with _told(ledger, key, fence):
        return controls.rollback(ledger, key, fence=fence, by=by)


@contextmanager
def _told(ledger: Ledger, key: AliasKey, fence: int) -> Iterator[None]:
    try:
        yield
    except ConflictError as error:
        alias = find_alias(ledger, *key)
        if alias is None or alias.fence == fence:
            raise
        name = version_names(ledger, key.project).get(alias.version_id, alias.version_id)
        raise ConflictError(f"{name} was promoted meanwhile ({age(alias.updated_at)}). {LOOK_AGAIN}") from error


def approve(ledger: Ledger, project: str, decision_id: str, *, by: Cause | None = None) -> RetrainDecision:
    """Let a retrain that waits go on; raises ConflictError if somebody has settled it meanwhile."""
    with _told_settled(ledger, project, decision_id):
        return approvals.approve(ledger, project, decision_id, by=by)


def refuse(ledger: Ledger, project: str, decision_id: str, *, by: Cause | None = None) -> RetrainDecision:
    """Turn down a retrain that waits; raises ConflictError if somebody has settled it meanwhile."""
    with _told_settled(ledger, project, decision_id):
        return approvals.refuse(ledger, project, decision_id, by=by)


@contextmanager
def _told_settled(ledger: Ledger, project: str, decision_id: str) -> Iterator[None]:
    try:
        yield
    except ConflictError as error:
        decision = ledger.get(RetrainDecision, decision_id, project=project)
        if decision.status in WAITING:
            raise
        what = SETTLED.get(decision.status, f"became {decision.status}")
        raise ConflictError(f"This retrain {what} meanwhile ({age(decision.updated_at)}). {LOOK_AGAIN}") from error


def set_paused(ledger: Ledger, project: str, value: bool, *, seen: str, by: Cause | None = None) -> None:
    """Pause or resume retraining; raises ConflictError if somebody has turned the switch since the page was drawn."""
    try:
        controls.set_paused(ledger, project, value, seen=seen, by=by)
    except ConflictError as error:
        now = "paused" if controls.is_paused(ledger, project) else "resumed"
        raise ConflictError(f"Somebody {now} retraining meanwhile. {LOOK_AGAIN}") from error


def accept_normal(
    monitor: MonitorSettings, ledger: Ledger, key: AliasKey, *, seen: str, by: Cause | None = None
) -> NewNormal:
    """Accept what changed as the new normal; raises ConflictError if another window was checked since."""
    try:
        return new_normal.accept(monitor, ledger, key, seen=seen, by=by)
    except ConflictError as error:
        raise ConflictError(f"{error}. Nothing was changed.") from error


def newest_retrain(ledger: Ledger, project: str) -> str:
    """Return the id of the newest decision to retrain; empty before the first."""
    found = ledger.find(RetrainDecision, project=project, verdict=DecisionVerdict.RETRAIN, limit=1)
    return found[0].id if found else ""


def request_retrain(
    policy: PolicySettings,
    ledger: Ledger,
    key: AliasKey,
    *,
    seen: str,
    why_now: str = "",
    fence: int | None = None,
    by: Cause | None = None,
    caps: Caps,
    plan: TrainingPlan | None = None,
) -> RetrainDecision:
    """Ask for a retrain; `why_now` is the reason why what stands against it does not hold this time.

    `plan` is how it differs from the settings. `fence` is the alias' as the page showed it, for who starts a retrain
    because of the version that they saw.
    Raises ConflictError if one was decided since the page was drawn, another version was made live, or something
    stands against it.
    """
    newest = newest_retrain(ledger, key.project)
    if newest != seen:
        raise ConflictError(f"A retrain was decided meanwhile ({newest}). {LOOK_AGAIN}")
    alias = find_alias(ledger, *key)
    if fence is not None and seen_fence(alias) != fence:
        name = version_names(ledger, key.project).get(alias.version_id, alias.version_id) if alias else "nothing"
        raise ConflictError(f"{name} was made live meanwhile. {LOOK_AGAIN}")
    reason = why_now.strip() or "a person asked for it on the dashboard"
    override = bool(why_now.strip())
    return controls.request_retrain(
        policy, ledger, key, trigger="button", reason=reason, override=override, by=by, caps=caps, plan=plan
    )


def judge(
    ledger: Ledger,
    first: ModelVersion,
    second: ModelVersion,
    *,
    dataset_id: str,
    item_id: str,
    judge: str,
    preference: Preference,
    first_was_left: bool,
) -> Judgement:
    """Store what a person prefers of the answers that they saw; raises ConflictError if they said otherwise before."""
    stored = record_judgement(
        ledger,
        first,
        second,
        dataset_id=dataset_id,
        item_id=item_id,
        judge=judge,
        preference=preference,
        first_was_left=first_was_left,
    )
    if stored.preference is not preference:
        raise ConflictError(f"You had judged this one before ({stored.preference}); what you said first stays.")
    return stored
