"""Of several gateways on one ledger one leads, also when it dies, stops for a while, or hands over."""

import time
from dataclasses import replace

import pytest

from driftwheel.errors import ConflictError
from driftwheel.records.nouns import Alias, Deployment, DeploymentStage
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from serve.release.deployments import Deployments
from serve.release.follower import followed
from serve.release.leader import LOOKS_WITHOUT_HEARTBEAT, LeaderElection
from tests.support.versions import add_with_parents, published_version

pytestmark = pytest.mark.every_database

Pair = tuple[LeaderElection, LeaderElection]


def on_port(settings: Settings, ledger: Ledger, port: int) -> LeaderElection:
    return LeaderElection(settings.serve.model_copy(update={"port": port}), ledger, settings.alias_key)


@pytest.fixture
def pair(settings: Settings, ledger: Ledger) -> Pair:
    add_with_parents(ledger, *(published_version(f"v{number}", number=number) for number in (1, 2)))
    add_with_parents(ledger, Alias(id="support/support", project="support", name="support", version_id="v1", fence=1))
    return on_port(settings, ledger, 8001), on_port(settings, ledger, 8002)


def alias(ledger: Ledger) -> Alias:
    return ledger.get(Alias, "support/support")


def rows_of(settings: Settings, ledger: Ledger, leader: LeaderElection) -> Deployments:
    rows = Deployments(ledger, settings.alias_key, leader)
    rows.is_ours = leader.is_leader
    return rows


def live(ledger: Ledger) -> list[str]:
    return [row.version_id for row in ledger.find(Deployment, stage=DeploymentStage.LIVE.value)]


def test_the_first_gateway_leads_and_the_second_does_not(pair: Pair, ledger: Ledger) -> None:
    first, second = pair
    for _ in range(2 * LOOKS_WITHOUT_HEARTBEAT):
        first.look()
        second.look()
    assert (first.is_leader, second.is_leader) == (True, False)
    assert alias(ledger).leader == first.name
    assert alias(ledger).heartbeats == 2 * LOOKS_WITHOUT_HEARTBEAT


def test_a_silent_leader_is_replaced_after_so_many_looks_and_no_earlier(
    pair: Pair,
) -> None:
    first, second = pair
    first.look()
    for _ in range(LOOKS_WITHOUT_HEARTBEAT):
        second.look()
    assert not second.is_leader
    second.look()
    assert second.is_leader
    first.look()
    assert not first.is_leader


def test_one_that_was_stopped_for_a_while_changes_nothing_when_it_goes_on(
    pair: Pair, settings: Settings, ledger: Ledger
) -> None:
    first, second = pair
    first.look()
    for _ in range(LOOKS_WITHOUT_HEARTBEAT + 1):
        second.look()
    rows_of(settings, ledger, second).go_live(alias(ledger), "v2", way="a new engine", fence=1, error=None)
    assert first.is_leader  # as far as it knows
    with pytest.raises(ConflictError, match="follows"):
        rows_of(settings, ledger, first).go_live(alias(ledger), "v1", way="a new engine", fence=1, error=None)
    assert live(ledger) == ["v2"]
    assert alias(ledger).observed_version_id == "v2"
    assert not first.is_leader


def test_a_gateway_that_follows_leaves_no_row(pair: Pair, settings: Settings, ledger: Ledger) -> None:
    first, second = pair
    first.look()
    second.look()
    rows_of(settings, ledger, first).go_live(alias(ledger), "v1", way="a new engine", fence=1, error=None)
    rows = rows_of(settings, ledger, second)
    rows.go_live(alias(ledger), "v2", way="a new engine", fence=1, error=None)
    rows.observe(alias(ledger), "v2", fence=1, error="not mine to say")
    rows.release()
    assert live(ledger) == ["v1"]
    assert (alias(ledger).observed_version_id, alias(ledger).observed_error) == ("v1", None)


def test_a_leader_that_ends_hands_over_at_once_and_its_successor_says_what_is_live(
    pair: Pair, settings: Settings, ledger: Ledger
) -> None:
    first, second = pair
    first.look()
    second.look()
    rows = rows_of(settings, ledger, first)
    rows.go_live(alias(ledger), "v1", way="a new engine", fence=1, error=None)
    rows.release()
    assert live(ledger) == []
    second.look()
    rows_of(settings, ledger, second).take_over(alias(ledger), "v1")
    assert live(ledger) == ["v1"]


def test_the_next_process_on_the_same_port_leads_at_once(settings: Settings, ledger: Ledger) -> None:
    add_with_parents(ledger, Alias(id="support/support", project="support", name="support", version_id="v1", fence=1))
    killed, restarted = (
        LeaderElection(settings.serve, ledger, settings.alias_key),
        LeaderElection(settings.serve, ledger, settings.alias_key),
    )
    killed.look()
    restarted.look()
    assert restarted.is_leader
    assert alias(ledger).leader == restarted.name != killed.name


def test_a_leader_that_cannot_beat_stops_believing_in_itself_before_it_is_replaced(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = pair
    first.look()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 7)
    assert not first.is_leader


def test_what_is_followed_is_what_the_leader_reports() -> None:
    row = Alias(
        id="support/support",
        project="support",
        name="support",
        version_id="v2",
        fence=3,
        observed_version_id="v1",
        observed_fence=2,
    )
    seen = followed(replace(row, observed_error="another model"))
    assert seen is not None
    assert (seen.version_id, seen.fence, seen.observed_error) == ("v1", 2, None)
    assert followed(replace(row, observed_version_id=None)) is None
