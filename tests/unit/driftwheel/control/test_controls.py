"""What a person may do, and what is refused."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from driftwheel.control import approvals, controls
from driftwheel.control.gateway_reports import wait_until_observed
from driftwheel.errors import ConflictError, EngineError, GateError, NotFoundError
from driftwheel.records.gate_verdict import GateVerdict
from driftwheel.records.nouns import (
    Alias,
    DecisionStatus,
    DecisionVerdict,
    ModelVersion,
    ModelVersionStatus,
    RetrainDecision,
)
from driftwheel.settings.settings import Settings
from driftwheel.store.alias import get_alias, observe_alias
from driftwheel.store.ledger import Ledger
from tests.support.retrains import ask_for_retrain
from tests.support.versions import add_with_parents, published_version


def version(number: int, status: ModelVersionStatus = ModelVersionStatus.PUBLISHED) -> ModelVersion:
    return published_version(
        f"version_{number}",
        status=status,
        number=number,
        quantization="w8a8",
        verdict=GateVerdict(verdict="REJECT", reason="worse by 9 points"),
    )


def test_promote_and_rollback_move_the_alias_there_and_back(ledger: Ledger, settings: Settings) -> None:
    add_with_parents(ledger, version(1), version(2))
    controls.promote(ledger, settings.alias_key, "version_1")
    assert controls.promote(ledger, settings.alias_key, "version_2").fence == 2
    back = controls.rollback(ledger, settings.alias_key)
    assert (back.version_id, back.previous_version_id, back.fence) == ("version_1", "version_2", 3)


def test_who_goes_back_again_does_not_get_the_version_that_was_left(ledger: Ledger, settings: Settings) -> None:
    add_with_parents(ledger, version(1), version(2))
    controls.promote(ledger, settings.alias_key, "version_1")
    controls.promote(ledger, settings.alias_key, "version_2")
    controls.rollback(ledger, settings.alias_key)
    with pytest.raises(ConflictError, match="went back to version_1 already; `driftwheel promote version_2`"):
        controls.rollback(ledger, settings.alias_key)
    assert get_alias(ledger, *settings.alias_key).version_id == "version_1"
    assert controls.rollback(ledger, settings.alias_key, fence=3).version_id == "version_2", "seen on the dashboard"
    controls.promote(ledger, settings.alias_key, "version_1")
    assert controls.rollback(ledger, settings.alias_key).version_id == "version_2", "another promotion came between"


@pytest.mark.parametrize("status", [ModelVersionStatus.REJECTED, ModelVersionStatus.CANDIDATE])
def test_what_the_gate_did_not_pass_is_never_promoted(
    ledger: Ledger, settings: Settings, status: ModelVersionStatus
) -> None:
    add_with_parents(ledger, version(1, status))
    with pytest.raises(GateError, match="worse by 9 points"):
        controls.promote(ledger, settings.alias_key, "version_1")
    assert ledger.find(Alias) == []


def test_there_is_nothing_to_roll_back_to_at_first(ledger: Ledger, settings: Settings) -> None:
    add_with_parents(ledger, version(1))
    controls.promote(ledger, settings.alias_key, "version_1")
    with pytest.raises(NotFoundError, match="no earlier version"):
        controls.rollback(ledger, settings.alias_key)


def test_waiting_returns_when_the_gateway_serves_it_and_raises_when_it_refuses(
    ledger: Ledger, settings: Settings
) -> None:
    add_with_parents(ledger, version(1), version(2))
    alias = controls.promote(ledger, settings.alias_key, "version_1")
    with ledger.write() as connection:
        observe_alias(connection, "support", "support", version_id="version_1", fence=alias.fence)
    assert wait_until_observed(settings.serve, ledger, alias).observed_version_id == "version_1"
    moved = controls.promote(ledger, settings.alias_key, "version_2")
    with ledger.write() as connection:
        observe_alias(
            connection, "support", "support", version_id=None, fence=moved.fence, error="another model answers"
        )
    with pytest.raises(EngineError, match="another model answers"):
        wait_until_observed(settings.serve, ledger, moved)
    with pytest.raises(ConflictError, match="meanwhile"):
        wait_until_observed(settings.serve, ledger, alias)


def test_only_one_retrain_is_asked_for_at_a_time(ledger: Ledger, settings: Settings) -> None:
    first = ask_for_retrain(settings, ledger)
    with pytest.raises(ConflictError, match=first.id):
        ask_for_retrain(settings, ledger, "again")


@pytest.mark.every_database
def test_of_many_who_ask_for_a_retrain_at_once_one_gets_it(ledger: Ledger, settings: Settings) -> None:
    def ask(number: int) -> bool:
        try:
            ask_for_retrain(settings, ledger, f"asked by {number}")
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(ask, range(24))) == 1
    assert ledger.count(RetrainDecision, project=settings.project) == 1


def recorded(ledger: Ledger, decision: RetrainDecision) -> RetrainDecision:
    with ledger.write() as connection:
        return controls.record_with(ledger, connection, decision)


def test_a_retrain_that_somebody_else_began_meanwhile_is_not_begun_twice(settings: Settings, ledger: Ledger) -> None:
    other = ask_for_retrain(settings, ledger)
    wanted = replace(other, id="decision_of_the_check", trigger="policy", reasons=["drift"])
    held = recorded(ledger, wanted)
    assert (held.verdict, held.status, held.remedy) == (DecisionVerdict.HOLD, DecisionStatus.CLOSED, "none")
    assert other.id in held.reasons[-1]
    assert ledger.get(RetrainDecision, wanted.id) == held
    ledger.change(other, status=DecisionStatus.FAILED)
    assert recorded(ledger, replace(wanted, id="decision_of_the_next_check")).status is DecisionStatus.OPEN


def test_a_waiting_decision_is_settled_once(ledger: Ledger, settings: Settings) -> None:
    waiting = ask_for_retrain(settings, ledger)
    with pytest.raises(ConflictError, match="not awaiting approval"):
        approvals.approve(ledger, settings.project, waiting.id)
    add_with_parents(ledger, replace(waiting, id="decision_w", status=DecisionStatus.AWAITING_APPROVAL))
    assert approvals.approve(ledger, settings.project, "decision_w").status is DecisionStatus.OPEN
    with pytest.raises(ConflictError):
        approvals.refuse(ledger, settings.project, "decision_w")
    assert ledger.get(RetrainDecision, "decision_w").status is DecisionStatus.OPEN


def test_the_pause_switch_survives_a_new_connection(ledger: Ledger, settings: Settings) -> None:
    controls.set_paused(ledger, settings.project, True)
    assert controls.is_paused(Ledger(settings.database_url), settings.project)
    controls.set_paused(ledger, settings.project, False)
    assert not controls.is_paused(ledger, settings.project)
