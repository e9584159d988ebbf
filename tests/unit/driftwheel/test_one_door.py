"""One door to a retrain: whoever asks, the same stands against it, and an override is a person's with a reason."""

import contextlib
import io
import itertools
from datetime import timedelta

import pytest
import yaml

from driftwheel.cli.main import main
from driftwheel.control import controls
from driftwheel.control.retrain_limits import history_of
from driftwheel.errors import ConflictError
from driftwheel.identity import utc_now
from driftwheel.records.nouns import DecisionStatus, DecisionVerdict, DriftKind, RetrainDecision
from driftwheel.settings.settings import Settings
from driftwheel.settings.watching import PolicySettings
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from monitor.policy import PolicyFacts, decide
from tests.support.versions import add_with_parents, published_version
from tests.unit.driftwheel.traffic.test_log import ROW

AGAINST = ("nothing", "paused", "under way", "cool-down", "budget", "breaker", "labels")
TRIGGERS = (
    "policy",
    "schedule",
    "button",
    "button --override",
    "webhook",
    "webhook --override",
    "command line",
    "command line --override",
)
APPROVALS = ("retrain", "promotion", "both", "none")
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
            drifted=frozenset({DriftKind.QUALITY} if trigger == "policy" else ()),
            fresh_labels=ledger.count(type(ROW), label="card"),
            live_since=now - timedelta(days=300),
            **vars(history_of(retrains, now, is_paused=controls.is_paused(ledger, key.project))),
        )
        decision = decide(facts, policy.model_copy(update={"schedule_seconds": 1.0}))
        return decision.status if decision.verdict is DecisionVerdict.RETRAIN else None
    name, _, override = trigger.partition(" --")
    if name == "command line":
        return ask_by_verb(policy, ledger, settings, bool(override))
    try:
        return controls.request_retrain(
            policy,
            ledger,
            key,
            trigger=name,
            reason="the shop opens",
            override=bool(override),
            caps=settings.dataset,
        ).status
    except ConflictError:
        return None


def ask_by_verb(policy: PolicySettings, ledger: Ledger, settings: Settings, override: bool) -> DecisionStatus | None:
    """Ask by `driftwheel retrain`; what it says goes nowhere."""
    before = {d.id for d in ledger.find(RetrainDecision)}
    raw = yaml.safe_load(settings.path.read_text()) | {"policy": policy.model_dump(mode="json")}
    settings.path.write_text(yaml.safe_dump(raw))
    words = ["retrain", "--config", str(settings.path), "--reason", "the shop opens"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        status = main([*words, *(["--override"] if override else [])])
    found = [d.status for d in ledger.find(RetrainDecision) if d.id not in before]
    assert (status == 0) is bool(found)
    return found[0] if found else None


@pytest.mark.parametrize("against", AGAINST)
def test_whoever_asks_the_same_things_stand_against_a_retrain(settings: Settings, ledger: Ledger, against: str) -> None:
    """Each trigger beside each setting of `policy.approval`, with one thing in the way, and with nothing."""
    arrange(ledger, settings, against)
    before = {d.id for d in ledger.find(RetrainDecision)}
    for trigger, approval in itertools.product(TRIGGERS, APPROVALS):
        found = ask(SETTINGS.model_copy(update={"approval": approval}), ledger, settings, trigger)
        is_asked_by_person = trigger.startswith(("button", "command line"))
        needs_word = approval in ("retrain", "both") and not is_asked_by_person
        allowed = DecisionStatus.AWAITING_APPROVAL if needs_word else DecisionStatus.OPEN
        is_overridden = is_asked_by_person and trigger.endswith("--override")
        is_let_in = against == "nothing" or (is_overridden and against != "under way")
        assert found == (allowed if is_let_in else None), f"{trigger} with approval {approval}"
        table = TABLES[RetrainDecision]
        with ledger.write() as connection:  # so that the next one finds the loop as this one did
            connection.execute(table.delete().where(table.c.id.not_in(before)))


@pytest.mark.parametrize(
    ("old", "new"), [("manual", "retrain"), ("auto", "none"), ("both", "both"), ("promotion", "promotion")]
)
def test_the_old_words_for_approval_are_understood(old: str, new: str) -> None:
    assert PolicySettings.model_validate({"approval": old}).approval == new


def test_an_override_is_written_down_and_no_hooks(settings: Settings, ledger: Ledger) -> None:
    arrange(ledger, settings, "cool-down")
    key = settings.alias_key
    with pytest.raises(ConflictError, match="cool-down"):
        controls.request_retrain(
            SETTINGS, ledger, key, trigger="webhook", reason="alert", override=True, caps=settings.dataset
        )
    decision = controls.request_retrain(
        SETTINGS, ledger, key, trigger="button", reason="the shop opens", override=True, caps=settings.dataset
    )
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
        assert ask(SETTINGS.model_copy(update={"approval": "none"}), ledger, settings, trigger) == allowed


@pytest.mark.parametrize(
    ("version_id", "is_retrain"), [(None, False), ("v1", True)], ids=["while it runs", "its promotion"]
)
def test_what_a_person_cancelled_is_no_failed_gate(
    settings: Settings, ledger: Ledger, version_id: str | None, is_retrain: bool
) -> None:
    for number in range(3):
        retrain(ledger, number, DecisionStatus.CANCELLED, 0.1)
    if version_id:
        add_with_parents(ledger, published_version(version_id, number=1))
        for decision in ledger.find(RetrainDecision):
            ledger.change(decision, version_id=version_id)
    history = history_of(ledger.find(RetrainDecision), utc_now(), is_paused=False)
    assert history.refused_in_a_row == 0
    assert (history.retrains_last_day, history.last_retrain_at is not None) == (3 * is_retrain, is_retrain)
