"""Controls of the loop for command line, dashboard and webhook: each one is a single change of the ledger.

Whoever is named as `by` stands in the event that is written with the change; where nobody is, it was whoever runs this
process. Nothing here starts a process or waits for one: gateway, monitor and worker see the change and act on it (they
are reconcilers), so that a control works while they are down.
"""

import json
from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa

from driftwheel.control.retrain_limits import UNFINISHED, history_of, lacking_labels, obstacles
from driftwheel.errors import ConflictError, GateError, NotFoundError
from driftwheel.identity import new_id, utc_now
from driftwheel.records.alias_key import AliasKey
from driftwheel.records.bookkeeping import Switch
from driftwheel.records.by_whom import Action, Cause, me, process
from driftwheel.records.check_details import DecisionBasis
from driftwheel.records.nouns import (
    Alias,
    Dataset,
    DecisionStatus,
    DecisionVerdict,
    ModelVersion,
    ModelVersionStatus,
    RetrainDecision,
)
from driftwheel.records.training_plan import TrainingPlan
from driftwheel.settings.serving import ServeSettings
from driftwheel.settings.watching import PolicySettings
from driftwheel.store.alias import find_alias, move_alias, move_alias_with
from driftwheel.store.events import events_of, note_with
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.traffic.fresh_labels import Caps, fresh_for_retrain

PAUSED = "paused"
CANARY_PLAN = "canary_plan"
SHADOW = "shadow"
PROMOTE = "; `driftwheel promote` makes one of `driftwheel versions` live"


def promote(
    ledger: Ledger,
    key: AliasKey,
    version_id: str,
    *,
    fence: int | None = None,
    canary_shares: Sequence[float] | None = None,
    by: Cause | None = None,
) -> Alias:
    """Make a published version the desired one of the alias; the gateway swaps when it has proved it.

    `canary_shares` says what it gets of the requests before that: nothing given means as `serve.rollout` says, an
    empty list means all at once. Raises GateError if the version was not published, ConflictError if the alias moved
    first.
    """
    published_version(ledger, key.project, version_id)
    if canary_shares is None:
        return move_alias(ledger, *key, version_id, fence=fence, by=by)
    if fence is None:
        found = find_alias(ledger, *key)
        fence = found.fence if found else 0
    return move_alias(ledger, *key, version_id, fence=fence, switch=_plan(key.name, fence, canary_shares), by=by)


def promote_judged(ledger: Ledger, key: AliasKey, version_id: str, *, seen_fence: int | None) -> Alias:
    """Make a version the desired one for a worker, only if the alias is as it was when the version was judged.

    A worker that died after its own move finds it done. Raises ConflictError where anybody moved the alias since, such
    as a person who went back: nobody has judged the version beside what is live now.
    """
    by, alias = process("worker", "the gate said PROMOTE"), find_alias(ledger, *key)
    if alias is None or seen_fence is None:  # no version was live, or a job of before fences were noted
        return promote(ledger, key, version_id, by=by)
    if (alias.fence, alias.version_id) == (seen_fence + 1, version_id):
        return alias
    if alias.fence != seen_fence:
        raise ConflictError(
            f"alias {key.name!r} was moved since {version_id} was judged (fence {seen_fence}, now {alias.fence}): "
            f"`driftwheel promote {version_id}` makes it live all the same"
        )
    return promote(ledger, key, version_id, fence=seen_fence, by=by)


def published_version(ledger: Ledger, project: str, version_id: str) -> ModelVersion:
    """Return a version that may serve traffic; raises GateError, with the gate's reason, for one that may not."""
    version = ledger.get(ModelVersion, version_id, project=project)
    if version.status is not ModelVersionStatus.PUBLISHED:
        reason = version.verdict.reason or "it was never judged"
        raise GateError(f"{version_id} is {version.status}, not published ({reason}); it cannot serve traffic")
    return version


def _plan(alias: str, fence: int, shares: Sequence[float]) -> tuple[str, str]:
    """Return name and value of the switch that holds the shares of the next move."""
    # The plan names the move that it is for, so that a later move by other means does not inherit it.
    return f"{CANARY_PLAN}/{alias}", json.dumps({"fence": fence + 1, "shares": list(shares)})


def canary_plan(serve: ServeSettings, ledger: Ledger, alias: Alias) -> list[float]:
    """Return the shares through which the alias' desired version goes before it is live; an empty list means none."""
    name = f"{CANARY_PLAN}/{alias.name}"
    plan = json.loads(ledger.switch(alias.project, name) or "{}")
    if plan.get("fence") == alias.fence:
        return [float(share) for share in plan["shares"]]
    return list(serve.canary_shares) if serve.rollout == "canary" else []


def rollback(ledger: Ledger, key: AliasKey, *, fence: int | None = None, by: Cause | None = None) -> Alias:
    """Make the alias' previous version the desired one again, at once for all requests.

    `fence` is the number that the caller saw. None means whatever it is now, and goes back once: asked again it would
    make live what it was to take away. Raises NotFoundError where there is no version to go back to, ConflictError if
    the alias moved first, or went back already.
    """
    alias = find_alias(ledger, *key)
    if alias is None:
        raise NotFoundError(f"alias {key.name!r} has no earlier version to go back to{PROMOTE}")
    if fence is not None and alias.fence != fence:
        raise ConflictError(f"alias {key.name!r} is at fence {alias.fence}, not {fence}: someone moved it first")
    moves = events_of(ledger, key.project, actions=(Action.PROMOTE, Action.ROLL_BACK), object_id=key.name, limit=1)
    if fence is None and moves and moves[0].action == Action.ROLL_BACK:
        left = alias.previous_version_id
        raise ConflictError(
            f"alias {key.name!r} went back to {alias.version_id} already; "
            f"`driftwheel promote {left}` makes {left} live again"
        )
    with ledger.write() as connection:
        return rollback_with(ledger, connection, alias, by=by)


def rollback_with(ledger: Ledger, connection: sa.Connection, alias: Alias, *, by: Cause | None = None) -> Alias:
    """Go back inside the caller's transaction.

    Raises NotFoundError or GateError where there is no version to go back to, ConflictError if the alias has moved
    since it was read.
    """
    if alias.previous_version_id is None:
        raise NotFoundError(f"alias {alias.name!r} has no earlier version to go back to{PROMOTE}")
    published_version(ledger, alias.project, alias.previous_version_id)
    # With the fence that was read: of two people who roll back at once one is told, and nobody goes back two versions.
    plan = _plan(alias.name, alias.fence, [])
    back_to = alias.previous_version_id
    return move_alias_with(ledger, connection, alias, back_to, switch=plan, by=by, action=Action.ROLL_BACK)


PEOPLE = ("button",)
"""Triggers behind which stands a person, who may override what stands against a retrain, with a reason."""


def request_retrain(
    policy: PolicySettings,
    ledger: Ledger,
    key: AliasKey,
    *,
    trigger: str,
    reason: str,
    override: bool = False,
    by: Cause | None = None,
    caps: Caps,
    plan: TrainingPlan | None = None,
) -> RetrainDecision:
    """Open a retrain that a person or a hook asks for, within the limits that hold the policy's own.

    What a person asks for is approved by that; a hook's waits for a person where `policy.approval` says so. A person
    may override the limits: pause, cool-down, budget, refused candidates and too few labels; the decision says so.
    `caps` are those on what keys without trust may teach; `plan` is how it differs from the settings, which its caller
    has tried on them. Raises NotFoundError for a Dataset that is not of this project, ConflictError naming what
    stands against it, and while another retrain is unfinished.
    """
    if plan is not None and plan.dataset_id is not None:
        ledger.get(Dataset, plan.dataset_id, project=key.project)
    is_person = trigger in PEOPLE
    found = what_stands_against(policy, ledger, key, caps)
    overridden, found = (found, []) if override and is_person else ([], found)
    if found:
        way = "; `driftwheel retrain --override` goes on all the same, and your reason is kept" if is_person else ""
        raise ConflictError(f"no retrain now: {'; '.join(found)}{way}")
    at = utc_now()
    is_approved = is_person or not policy.asks_for_retrain
    decision = RetrainDecision(
        id=new_id("decision", [key.project, trigger, reason, at], at),
        project=key.project,
        created_at=at,
        verdict=DecisionVerdict.RETRAIN,
        status=DecisionStatus.OPEN if is_approved else DecisionStatus.AWAITING_APPROVAL,
        trigger=trigger,
        remedy="retrain",
        reasons=[reason, *(f"overridden: {what}" for what in overridden)],
        known=DecisionBasis(plan=plan if plan is not None and plan.said() else None),
    )
    # Asked and written in one transaction: a button, a hook and the policy at once make one retrain.
    with ledger.write() as connection:
        unfinished_id = ledger.add_only_with(connection, decision, project=key.project, status=UNFINISHED)
        if unfinished_id is not None:
            raise ConflictError(f"{unfinished_id} is unfinished: one retrain at a time; wait or refuse it")
        _note_asked(ledger, connection, decision, by or me())
    return decision


def _note_asked(ledger: Ledger, connection: sa.Connection, decision: RetrainDecision, by: Cause) -> None:
    cause = by if by.reason else replace(by, reason="; ".join(decision.reasons))
    plan = decision.known.plan.said() if decision.known.plan is not None else {}
    after = {"status": decision.status, "trigger": decision.trigger, **plan}
    note_with(ledger, connection, cause, Action.ASK_RETRAIN, decision.project, decision.id, after=after)


def what_stands_against(policy: PolicySettings, ledger: Ledger, key: AliasKey, caps: Caps) -> list[str]:
    """Return what stands against a retrain now, in words."""
    retrains = ledger.find(RetrainDecision, project=key.project, verdict=DecisionVerdict.RETRAIN)
    history = history_of(retrains, utc_now(), is_paused=is_paused(ledger, key.project))
    missing = lacking_labels(policy, fresh_for_retrain(ledger, key, caps))
    return [*obstacles(policy, history), *([missing] if missing else [])]


def record_with(ledger: Ledger, connection: sa.Connection, decision: RetrainDecision) -> RetrainDecision:
    """Write the policy's decision down inside the caller's transaction.

    One to retrain becomes one to hold where a retrain is unfinished already.
    """
    if decision.status in UNFINISHED:
        other_id = ledger.add_only_with(connection, decision, project=decision.project, status=UNFINISHED)
        if other_id is None:
            _note_asked(ledger, connection, decision, process("monitor"))
            return decision
        reasons = [*decision.reasons, f"{other_id} is unfinished, and there is one retrain at a time"]
        decision = replace(
            decision, verdict=DecisionVerdict.HOLD, status=DecisionStatus.CLOSED, remedy="none", reasons=reasons
        )
    ledger.add_with(connection, [decision])
    return decision


def set_paused(ledger: Ledger, project: str, value: bool, *, seen: str | None = None, by: Cause | None = None) -> None:
    """Stop or continue retraining; the worker looks before every step, and the switch survives restarts.

    `seen` is the mark that `pause_mark` gave the caller; None means whatever it is now. Raises ConflictError if someone
    turned the switch since.
    """
    with ledger.write() as connection:
        if seen is not None and _pause_mark(connection, project) != seen:
            raise ConflictError("someone paused or resumed retraining meanwhile")
        before = _is_paused(connection, project)
        ledger.set_switch_with(connection, project, PAUSED, "yes" if value else "")
        action = Action.PAUSE if value else Action.RESUME
        changed = {"before": {PAUSED: before}, "after": {PAUSED: value}}
        note_with(ledger, connection, by or me(), action, project, PAUSED, **changed)


def pause_mark(ledger: Ledger, project: str) -> str:
    """Return what tells one turn of the pause switch from the next; empty before the first."""
    with ledger.read() as connection:
        return _pause_mark(connection, project)


def _pause_mark(connection: sa.Connection, project: str) -> str:
    switch = TABLES[Switch].c
    at = connection.execute(sa.select(switch.updated_at).where(switch.id == f"{project}/{PAUSED}")).scalar()
    return at.isoformat() if at is not None else ""


def set_shadow(
    ledger: Ledger, project: str, version_id: str, *, seen: str | None = None, by: Cause | None = None
) -> None:
    """Have the gateway copy live requests to a version, whose answers nobody gets; with an empty id to none.

    `seen` is the version to which they were copied as the caller saw it; None means whatever it is now. Raises
    ConflictError if that has changed since.
    """
    with ledger.write() as connection:
        before = _switched(connection, project, SHADOW)
        if seen is not None and before != seen:
            raise ConflictError(f"requests are copied to {before or 'no version'} by now, not to {seen or 'none'}")
        ledger.set_switch_with(connection, project, SHADOW, version_id)
        action = Action.SHADOW if version_id else Action.END_SHADOW
        changed = {"before": {SHADOW: before}, "after": {SHADOW: version_id}}
        note_with(ledger, connection, by or me(), action, project, version_id or before or SHADOW, **changed)


def _is_paused(connection: sa.Connection, project: str) -> bool:
    return bool(_switched(connection, project, PAUSED))


def _switched(connection: sa.Connection, project: str, name: str) -> str:
    switch = TABLES[Switch].c
    value = connection.execute(sa.select(switch.value).where(switch.id == f"{project}/{name}")).scalar()
    return str(value or "")


def is_paused(ledger: Ledger, project: str) -> bool:
    """Say whether retraining is paused."""
    return bool(ledger.switch(project, PAUSED))
