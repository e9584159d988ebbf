"""A worker moves the alias only from where it was when the candidate was judged."""

from collections.abc import Callable

import pytest

from driftwheel import controls
from driftwheel.records import Alias
from driftwheel.settings.settings import Settings
from driftwheel.store.alias import get_alias, observe_alias
from driftwheel.store.ledger import Ledger
from tests.support.versions import add_with_parents, published_version
from train.worker import STEPS, Job, Progress

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
