"""A worker moves the alias only from where it was when the candidate was judged."""

import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from driftwheel.control import approvals, controls
from driftwheel.errors import CancelledError, ConflictError, EngineError
from driftwheel.records.by_whom import Action, Cause
from driftwheel.records.nouns import Alias, DecisionStatus, DecisionVerdict, RetrainDecision
from driftwheel.settings.settings import Settings
from driftwheel.store.alias import get_alias, observe_alias
from driftwheel.store.events import events_of
from driftwheel.store.ledger import Ledger
from tests.support.versions import add_with_parents, published_version
from train.retrain_state import Job, Progress
from train.worker import STEPS

ANN = Cause(actor="person:Ann", reason="not on Friday")
ROLL_OUT = next(step for step in STEPS if step.name == "roll_out")


@pytest.fixture
def roll_out(settings: Settings, ledger: Ledger) -> Callable[[int | None], Progress]:
    """Run the worker's last step for `v2`, which was judged beside `v1` at a fence."""
    add_with_parents(ledger, *(published_version(f"v{n}", number=n) for n in (1, 2, 3)))
    controls.promote(ledger, settings.alias_key, "v1")
    made = Progress(status="published", version_id="v2")

    def run(seen_fence: int | None) -> Progress:
        return ROLL_OUT.run(Job(settings, ledger), made.plus(Progress(seen_fence=seen_fence)))

    return run


def serve(settings: Settings, ledger: Ledger) -> Alias:
    """Let a gateway report that it serves what is desired."""
    alias = get_alias(ledger, *settings.alias_key)
    with ledger.write() as connection:
        observe_alias(connection, alias.project, alias.name, version_id=alias.version_id, fence=alias.fence)
    return alias


def test_after_a_persons_rollback_a_restarted_worker_does_not_promote_again(
    settings: Settings, ledger: Ledger, roll_out: Callable[[int | None], Progress]
) -> None:
    seen = get_alias(ledger, *settings.alias_key).fence
    controls.promote(ledger, settings.alias_key, "v2")  # by the worker, which then died
    controls.rollback(ledger, settings.alias_key)
    made = roll_out(seen)
    assert (made.rolled_out, get_alias(ledger, *settings.alias_key).version_id) == (False, "v1")
    assert "was moved since v2 was judged" in str(made.reason)


def test_a_candidate_that_was_judged_beside_another_version_is_not_promoted(
    settings: Settings, ledger: Ledger, roll_out: Callable[[int | None], Progress]
) -> None:
    seen = get_alias(ledger, *settings.alias_key).fence
    controls.promote(ledger, settings.alias_key, "v3")
    assert roll_out(seen).rolled_out is False
    assert get_alias(ledger, *settings.alias_key).version_id == "v3"


def test_a_worker_that_died_after_its_own_move_finds_it_done(
    settings: Settings, ledger: Ledger, roll_out: Callable[[int | None], Progress]
) -> None:
    seen = get_alias(ledger, *settings.alias_key).fence
    controls.promote(ledger, settings.alias_key, "v2")
    fence = serve(settings, ledger).fence
    made = roll_out(seen)
    assert (made.rolled_out, made.fence, get_alias(ledger, *settings.alias_key).fence) == (True, fence, fence)


def decision(ledger: Ledger, status: DecisionStatus) -> RetrainDecision:
    made = RetrainDecision(
        id="decision_1",
        project="support",
        verdict=DecisionVerdict.RETRAIN,
        status=status,
        trigger="policy",
        remedy="retrain",
        reasons=[],
        version_id="v2",
    )
    ledger.add(made)
    return made


def held(settings: Settings, ledger: Ledger, approval: str) -> "tuple[Job, Progress]":
    """Return what the worker's last step needs: v2 is published, v1 is live."""
    add_with_parents(ledger, *(published_version(f"v{n}", number=n) for n in (1, 2)))
    controls.promote(ledger, settings.alias_key, "v1")
    decision(ledger, DecisionStatus.RUNNING)
    policy = settings.policy.model_copy(update={"approval": approval})
    job = Job(settings.model_copy(update={"policy": policy}), ledger, "decision_1")
    return job, Progress(status="published", version_id="v2", seen_fence=1)


def until(ledger: Ledger, status: DecisionStatus) -> None:
    deadline = time.monotonic() + 60
    while ledger.get(RetrainDecision, "decision_1").status is not status:
        assert time.monotonic() < deadline, ledger.get(RetrainDecision, "decision_1").status
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("approval", "word"),
    [
        ("retrain", "nothing"),
        ("none", "nothing"),
        *itertools.product(("promotion", "both"), ("approve", "refuse", "cancel", "approve while paused")),
    ],
)
def test_a_promotion_goes_on_only_with_a_persons_word_where_one_is_asked_for(
    settings: Settings, ledger: Ledger, approval: str, word: str
) -> None:
    """Setting x what the person says -> what is desired, and what the decision is."""
    job, made = held(settings, ledger, approval)
    is_asked = approval in ("promotion", "both")
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(ROLL_OUT.run, job, made)
        if not is_asked:
            until(ledger, DecisionStatus.PROMOTING)
            for act in (approvals.approve, approvals.refuse, approvals.cancel):
                with pytest.raises(ConflictError):
                    act(ledger, "support", "decision_1")
        else:
            until(ledger, DecisionStatus.AWAITING_PROMOTION)
            assert get_alias(ledger, *settings.alias_key).version_id == "v1"
            assert approvals.waiting(ledger, "support").id == "decision_1"
            if "paused" in word:
                controls.set_paused(ledger, "support", True)
            getattr(approvals, word.split()[0])(ledger, "support", "decision_1", by=ANN)
            if "paused" in word:
                time.sleep(0.1)
                assert get_alias(ledger, *settings.alias_key).version_id == "v1"
                controls.set_paused(ledger, "support", False)
        if is_asked and not word.startswith("approve"):
            with pytest.raises(CancelledError, match=r"person:Ann.*: not on Friday"):
                under_way.result(60)
            assert ledger.get(RetrainDecision, "decision_1").status is DecisionStatus.CANCELLED
            assert get_alias(ledger, *settings.alias_key).version_id == "v1"
            return
        serve_when_desired(settings, ledger, "v2")
        assert under_way.result(60).rolled_out is True
    assert ledger.get(RetrainDecision, "decision_1").status is DecisionStatus.PROMOTING


def serve_when_desired(settings: Settings, ledger: Ledger, version_id: str, error: str | None = None) -> None:
    deadline = time.monotonic() + 60
    while (alias := get_alias(ledger, *settings.alias_key)).version_id != version_id:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with ledger.write() as connection:
        served = None if error else version_id
        observe_alias(connection, alias.project, alias.name, version_id=served, fence=alias.fence, error=error)


def test_a_failed_roll_out_leaves_no_alias_that_wants_what_nobody_serves(settings: Settings, ledger: Ledger) -> None:
    """The alias wanted the refused version for ever, and each restart of the gateway tried it again."""
    job, made = held(settings, ledger, "none")
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(ROLL_OUT.run, job, made)
        serve_when_desired(settings, ledger, "v2", "another model answers")
        with pytest.raises(EngineError, match="another model answers"):
            under_way.result(60)
    assert get_alias(ledger, *settings.alias_key).version_id == "v1"
    event = events_of(ledger, "support")[0]
    assert (event.action, event.actor) == (Action.ROLL_BACK, "process:worker")
    assert "another model answers" in event.reason
