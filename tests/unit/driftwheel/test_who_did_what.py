"""Who did what is written down with it: each control adds one event, with its actor, in the same transaction."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from driftwheel.callers.api_keys import create_key, disable_key, rotate_key
from driftwheel.cli.history import line
from driftwheel.cli.main import main
from driftwheel.control import approvals, controls
from driftwheel.errors import ConflictError, DriftwheelError
from driftwheel.records.bookkeeping import Scope
from driftwheel.records.by_whom import Action, Cause, Event, me, process
from driftwheel.records.nouns import Alias, DecisionStatus, DeploymentStage, RetrainDecision
from driftwheel.settings.settings import Settings
from driftwheel.store.alias import get_alias
from driftwheel.store.events import events_of, note, note_with
from driftwheel.store.ledger import Ledger
from driftwheel.store.seen_settings import note_changed_settings
from driftwheel.traffic.feedback import confirm_feedback, give_feedback, person, withdraw_feedback
from serve.release.deployments import Deployments
from serve.release.leader import LeaderElection
from serve.shadow import shadow
from tests.support.retrains import ask_for_retrain
from tests.support.versions import add_with_parents, published_version
from tests.unit.driftwheel.traffic.test_log import ROW
from train.publish import _note

ANN = Cause(actor="person:Ann", reason="the shop opens")
Deed = Callable[[Settings, Ledger], object]


def retrain(settings: Settings, ledger: Ledger, status: DecisionStatus = DecisionStatus.OPEN) -> RetrainDecision:
    decision = ask_for_retrain(settings, ledger, ANN.reason, by=ANN)
    return ledger.change(decision, status=status)


def waiting(settings: Settings, ledger: Ledger) -> str:
    return retrain(settings, ledger, DecisionStatus.AWAITING_APPROVAL).id


def gateway(settings: Settings, ledger: Ledger) -> Deployments:
    """Return what writes the rows of a gateway that leads."""
    election = LeaderElection(settings.serve, ledger, settings.alias_key)
    election.look()
    rows = Deployments(ledger, settings.alias_key, election)
    rows.is_ours = True
    return rows


def alias(settings: Settings, ledger: Ledger) -> Alias:
    return get_alias(ledger, *settings.alias_key)


def went_back(settings: Settings, ledger: Ledger) -> None:
    controls.rollback(ledger, settings.alias_key, by=ANN)


def withdrew(settings: Settings, ledger: Ledger) -> None:
    ledger.add(ROW)
    give_feedback(settings.traffic, ledger, "support", ROW.id, author=person("Ann"), label="card_lost")
    withdraw_feedback(ledger, "support", ROW.id, author=person("Ann"))


def confirmed(settings: Settings, ledger: Ledger) -> None:
    confirm_feedback(settings.traffic, ledger, "support", "support/web", by=person("Ann"))


def made_key(settings: Settings, ledger: Ledger) -> None:
    create_key(ledger, "support", "web", [Scope.ASK], by=ANN)


def disabled_key(settings: Settings, ledger: Ledger) -> None:
    made_key(settings, ledger)
    disable_key(ledger, "support", "web", by=ANN)


def rotated_key(settings: Settings, ledger: Ledger) -> None:
    made_key(settings, ledger)
    rotate_key(ledger, "support", "web", timedelta(hours=1), by=ANN)


def set_otherwise(settings: Settings, ledger: Ledger) -> None:
    note_changed_settings({"policy": {"approval": "auto"}}, ledger, "support", ANN)
    note_changed_settings({"policy": {"approval": "manual"}}, ledger, "support", ANN)


def published(settings: Settings, ledger: Ledger) -> None:
    with ledger.write() as connection:
        _note(ledger, connection, published_version("v2", number=2), "decision_1")


DEEDS: dict[Action, tuple[str, Deed]] = {
    Action.PROMOTE: ("person:Ann", lambda s, ledger: controls.promote(ledger, s.alias_key, "v3", by=ANN)),
    Action.ROLL_BACK: ("person:Ann", went_back),
    Action.ASK_RETRAIN: ("person:Ann", retrain),
    Action.APPROVE: ("person:Ann", lambda s, ledger: approvals.approve(ledger, "support", waiting(s, ledger), by=ANN)),
    Action.REFUSE: ("person:Ann", lambda s, ledger: approvals.refuse(ledger, "support", waiting(s, ledger), by=ANN)),
    Action.PAUSE: ("person:Ann", lambda s, ledger: controls.set_paused(ledger, "support", True, by=ANN)),
    Action.RESUME: ("person:Ann", lambda s, ledger: controls.set_paused(ledger, "support", False, by=ANN)),
    Action.SHADOW: ("person:Ann", lambda s, ledger: controls.set_shadow(ledger, "support", "v1", by=ANN)),
    Action.END_SHADOW: (me().actor, lambda s, ledger: shadow.stop(ledger, published_version("v1", number=1))),
    Action.SWAP: (
        "process:gateway",
        lambda s, ledger: gateway(s, ledger).go_live(alias(s, ledger), "v2", way="started", fence=2, error=None),
    ),
    Action.REFUSE_SWAP: (
        "process:gateway",
        lambda s, ledger: gateway(s, ledger).observe(alias(s, ledger), "v1", fence=2, error="another model answers"),
    ),
    Action.BEGIN_CANARY: (
        "process:gateway",
        lambda s, ledger: gateway(s, ledger).open(alias(s, ledger), "v2", DeploymentStage.CANARY, 0.1, "canary"),
    ),
    Action.ADVANCE_CANARY: ("process:gateway", lambda s, ledger: gateway(s, ledger).share_out("v2", 0.5)),
    Action.HOLD_CANARY: ("process:gateway", lambda s, ledger: gateway(s, ledger).explain("v2", "waits")),
    Action.ABORT_CANARY: (
        "process:gateway",
        lambda s, ledger: gateway(s, ledger).end_canary("v2", DeploymentStage.DRAINING, "its engine died"),
    ),
    Action.PUBLISH: ("process:worker", published),
    Action.WITHDRAW_FEEDBACK: ("person:Ann", withdrew),
    Action.CONFIRM_FEEDBACK: ("person:Ann", confirmed),
    Action.CREATE_KEY: ("person:Ann", made_key),
    Action.DISABLE_KEY: ("person:Ann", disabled_key),
    Action.ROTATE_KEY: ("person:Ann", rotated_key),
    Action.CHANGE_SETTINGS: ("person:Ann", set_otherwise),
}


@pytest.mark.parametrize("action", list(DEEDS), ids=str)
def test_each_control_writes_down_who_did_it(settings: Settings, ledger: Ledger, action: Action) -> None:
    add_with_parents(ledger, *(published_version(f"v{n}", number=n) for n in (1, 2, 3)))
    for name in ("v1", "v2"):
        controls.promote(ledger, settings.alias_key, name, by=Cause(actor="person:Bob"))
    actor, deed = DEEDS[action]
    before = ledger.count(Event, action=action)
    deed(settings, ledger)
    newest, *rest = events_of(ledger, "support", actions=[action])
    assert (newest.actor, newest.action, len(rest)) == (actor, action, before)


def test_an_event_says_what_was_changed_from_what_to_what_and_why(settings: Settings, ledger: Ledger) -> None:
    add_with_parents(ledger, *(published_version(f"v{n}", number=n) for n in (1, 2)))
    controls.promote(ledger, settings.alias_key, "v1", by=ANN)
    controls.promote(ledger, settings.alias_key, "v2", canary_shares=[0.1, 0.5], by=ANN)
    event, first = events_of(ledger, "support")
    assert (first.before, first.after) == ({}, {"version_id": "v1", "fence": 1})
    assert (event.before, event.object_id, event.reason) == ({"version_id": "v1", "fence": 1}, "support", ANN.reason)
    assert event.after == {"version_id": "v2", "fence": 2, "plan": {"fence": 2, "shares": [0.1, 0.5]}}


@pytest.mark.every_database
def test_a_control_that_is_refused_leaves_no_event_and_a_lost_event_no_control(
    settings: Settings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    decision = retrain(settings, ledger)
    count = ledger.count(Event)
    with pytest.raises(ConflictError):
        approvals.approve(ledger, "support", decision.id, by=ANN)
    with pytest.raises(ConflictError):
        controls.set_paused(ledger, "support", True, seen="another moment", by=ANN)
    assert ledger.count(Event) == count
    with ledger.write() as connection:
        connection.exec_driver_sql("ALTER TABLE event RENAME TO elsewhere")
    with pytest.raises((DriftwheelError, sa.exc.DatabaseError)):
        controls.set_paused(ledger, "support", True, by=ANN)
    assert not controls.is_paused(ledger, "support")


def test_nobody_named_is_whoever_runs_the_process(settings: Settings, ledger: Ledger) -> None:
    controls.set_paused(ledger, "support", True)
    (event,) = events_of(ledger, "support")
    assert event.actor == me().actor
    assert event.actor.startswith("person:")


def test_a_refusal_that_is_met_again_and_again_is_one_event(settings: Settings, ledger: Ledger) -> None:
    add_with_parents(ledger, published_version("v1", number=1))
    controls.promote(ledger, settings.alias_key, "v1")
    rows = gateway(settings, ledger)
    for error in ("no room", "no room", "another model answers"):
        rows.observe(alias(settings, ledger), None, fence=1, error=error)
    said = [event.reason for event in events_of(ledger, "support", actions=[Action.REFUSE_SWAP])]
    assert said == ["another model answers", "no room"]


def test_settings_are_compared_with_the_last_start_and_keep_no_password(ledger: Ledger) -> None:
    def start(url: str, **policy: object) -> Event | None:
        storage = {"database_url": url}
        return note_changed_settings({"policy": policy, "storage": storage}, ledger, "support", ANN)

    assert start("postgresql://a:secret@db/loop", approval="auto") is None
    assert start("postgresql://a:secret@db/loop", approval="auto") is None
    assert start("postgresql://a:other@db/loop", approval="auto") is None
    event = start("postgresql://a:other@db2/loop", approval="manual", gone=None)
    assert event is not None
    assert event.before == {"policy.approval": "auto", "storage.database_url": "postgresql://***@db/loop"}
    assert event.after == {"policy.approval": "manual", "storage.database_url": "postgresql://***@db2/loop"}
    assert "secret" not in ledger.switch("support", "settings")


@pytest.fixture
def told(settings: Settings, ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Run the verb beside three events, and return what it prints."""
    controls.set_paused(ledger, "support", True, by=Cause(actor="person:Ann", reason="\x1b[31mred"))
    controls.set_paused(ledger, "support", False, by=Cause(actor="support/ops"))
    note(ledger, process("worker"), Action.END_RETRAIN, "support", "decision_1", after={"status": "failed"})
    note(ledger, process("worker"), Action.END_RETRAIN, "billing", "decision_2")

    def run(*words: str) -> list[str]:
        assert main(["history", "--config", str(settings.path), *words]) == 0
        return capsys.readouterr().out.splitlines()

    return run


def test_the_verb_shows_the_newest_first_and_what_was_asked_for(told: Callable[..., list[str]]) -> None:
    assert [json.loads(text)["action"] for text in told("--json")] == ["end_retrain", "resume", "pause"]
    assert len(told("--action", "pause", "--action", "resume")) == 2
    assert len(told("--actor", "Ann")) == len(told("--actor", "person:Ann")) == len(told("--actor", "support/ops")) == 1
    assert len(told("--last", "2")) == 2
    assert told("--since", "2999-01-01") == []


def test_what_people_wrote_says_nothing_to_the_terminal(told: Callable[..., list[str]]) -> None:
    (text,) = told("--action", "pause")
    assert text.endswith('person:Ann  pause  paused {"paused": false} -> {"paused": true}  "\\u001b[31mred"')
    event = Event(id="e", project="p", actor="person:\x1b[0m", action=Action.PAUSE, object_id="\u202eevil")
    assert "\x1b" not in line(event)
    assert "\u202e" not in line(event)
    assert line(replace(event, reason="zu früh")).endswith('  "zu früh"'), "it was written as zu fr\\u00fch"


def test_two_who_do_the_same_at_once_are_both_written_down(ledger: Ledger) -> None:
    with ledger.write() as connection:
        for _ in range(50):
            note_with(ledger, connection, ANN, Action.PAUSE, "support", "paused")
    assert ledger.count(Event) == 50
