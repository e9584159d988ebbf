"""One door to a retrain: whoever asks, the same stands against it, and an override is a person's with a reason."""

import itertools
from datetime import timedelta

import pytest

from driftwheel import controls
from driftwheel.errors import ConflictError
from driftwheel.identity import utc_now
from driftwheel.records import DecisionStatus, DecisionVerdict, DriftKind, RetrainDecision
from driftwheel.retrain_limits import history_of
from driftwheel.settings.settings import Settings
from driftwheel.settings.watching import PolicySettings
from driftwheel.store.ledger import Ledger
from monitor.policy import PolicyFacts, decide
from tests.support.versions import add_with_parents
from tests.unit.driftwheel.traffic.test_log import ROW

AGAINST = ("nothing", "paused", "under way", "cool-down", "budget", "breaker", "labels")
TRIGGERS = ("policy", "schedule", "button", "button --override", "webhook")
SETTINGS = PolicySettings(min_fresh_labels=1, cooldown_seconds=3600, max_retrains_per_day=2, max_failed_gates=2)


def retrain(ledger: Ledger, number: int, status: DecisionStatus, hours: float, *, is_turned_down: bool = False) -> None:
    decision = RetrainDecision(
        id=f"decision_{number}",
        project="support",
        created_at=utc_now() - timedelta(hours=hours),
        verdict=DecisionVerdict.RETRAIN,
        status=status,
        trigger="policy",
        remedy="retrain",
        reasons=[],
        dataset_id=None if is_turned_down else "dataset",
    )
    add_with_parents(ledger, decision)


def arrange(ledger: Ledger, settings: Settings, against: str) -> None:
    """Make a ledger in which one thing stands against a retrain."""
    if against != "labels":
        ledger.add(type(ROW)(**vars(ROW) | {"label": "card", "label_source": "label", "feedback_at": utc_now()}))
    if against == "paused":
        controls.set_paused(ledger, settings.project, True)
    if against == "under way":
        retrain(ledger, 1, DecisionStatus.RUNNING, 30)
    if against == "cool-down":
        retrain(ledger, 1, DecisionStatus.PROMOTED, 0.5)
    if against == "budget":
        retrain(ledger, 1, DecisionStatus.PROMOTED, 3)
        retrain(ledger, 2, DecisionStatus.PROMOTED, 2)
    if against == "breaker":
        retrain(ledger, 1, DecisionStatus.REFUSED, 40)
        retrain(ledger, 2, DecisionStatus.FAILED, 30)


def ask(policy: PolicySettings, ledger: Ledger, settings: Settings, trigger: str) -> DecisionStatus | None:
    """Ask for a retrain in one of the ways; return its status, or None if there is none."""
    key = settings.alias_key
    if trigger in ("policy", "schedule"):
        now = utc_now()
        retrains = ledger.find(RetrainDecision, project=key.project, verdict=DecisionVerdict.RETRAIN)
        facts = PolicyFacts(
            now=now,
            drifted=frozenset({DriftKind.QUALITY} if trigger == "policy" else ()),
            fresh_labels=ledger.count(type(ROW), label="card"),
            live_since=now - timedelta(days=300),
            is_paused=controls.is_paused(ledger, key.project),
            is_retraining=any(d.status in controls.UNFINISHED for d in retrains),
            **vars(history_of(retrains, now)),
        )
        decision = decide(facts, policy.model_copy(update={"schedule_seconds": 1.0}))
        return decision.status if decision.verdict is DecisionVerdict.RETRAIN else None
    name, _, override = trigger.partition(" ")
    try:
        return controls.request_retrain(
            policy, ledger, key, trigger=name, reason="the shop opens", override=bool(override)
        ).status
    except ConflictError:
        return None


@pytest.mark.parametrize(("against", "trigger"), list(itertools.product(AGAINST, TRIGGERS)))
@pytest.mark.parametrize("approval", ["auto", "manual"])
def test_whoever_asks_the_same_things_stand_against_a_retrain(
    settings: Settings, ledger: Ledger, against: str, trigger: str, approval: str
) -> None:
    arrange(ledger, settings, against)
    found = ask(SETTINGS.model_copy(update={"approval": approval}), ledger, settings, trigger)
    is_person = trigger.startswith("button")
    allowed = DecisionStatus.OPEN if approval == "auto" or is_person else DecisionStatus.AWAITING_APPROVAL
    is_let_in = against == "nothing" or (trigger == "button --override" and against != "under way")
    assert found == (allowed if is_let_in else None)


def test_an_override_is_written_down_and_no_hooks(settings: Settings, ledger: Ledger) -> None:
    arrange(ledger, settings, "cool-down")
    key = settings.alias_key
    with pytest.raises(ConflictError, match="cool-down"):
        controls.request_retrain(SETTINGS, ledger, key, trigger="webhook", reason="alert", override=True)
    decision = controls.request_retrain(SETTINGS, ledger, key, trigger="button", reason="the shop opens", override=True)
    assert decision.reasons[0] == "the shop opens"
    assert decision.reasons[1].startswith("overridden: cool-down")


@pytest.mark.parametrize(("is_turned_down", "allowed"), [(True, DecisionStatus.OPEN), (False, None)])
def test_what_a_person_turned_down_was_no_retrain_and_no_failed_gate(
    settings: Settings, ledger: Ledger, is_turned_down: bool, allowed: DecisionStatus | None
) -> None:
    """Refusing a decision started the cool-down, and two refusals were two failed candidates."""
    arrange(ledger, settings, "nothing")
    for number in range(3):
        retrain(ledger, number, DecisionStatus.REFUSED, 0.1, is_turned_down=is_turned_down)
    for trigger in ("policy", "button"):
        assert ask(SETTINGS.model_copy(update={"approval": "auto"}), ledger, settings, trigger) == allowed
