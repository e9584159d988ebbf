"""What is live is asked by project and name, moved by its fence, and observed without touching what is desired."""

import threading

import pytest

from driftwheel.control import controls
from driftwheel.control.gateway_reports import wait_until_observed
from driftwheel.errors import ConflictError, EngineError, NotFoundError
from driftwheel.records.nouns import Deployment, DeploymentStage
from driftwheel.settings.settings import Settings
from driftwheel.store.alias import find_alias, get_alias, leader_of, move_alias, observe_alias
from driftwheel.store.ledger import Ledger
from serve.release.deployments import Deployments
from serve.release.leader import LeaderElection
from tests.support.versions import add_versions

pytestmark = pytest.mark.every_database


def test_an_alias_moves_by_fence_and_an_old_fence_loses(ledger: Ledger) -> None:
    add_versions(ledger, "v1", "v2", "v3")
    first = move_alias(ledger, "support", "default", "v1")
    second = move_alias(ledger, "support", "default", "v2", fence=first.fence)
    assert (second.fence, second.previous_version_id) == (2, "v1")
    with pytest.raises(ConflictError, match="fence 2, not 1"):
        move_alias(ledger, "support", "default", "v3", fence=first.fence)
    assert get_alias(ledger, "support", "default").version_id == "v2"


def test_a_version_that_is_not_live_yet_is_released_anew_by_another_plan(ledger: Ledger) -> None:
    add_versions(ledger, "v1", "v2")
    move_alias(ledger, "support", "default", "v1")
    name, directly = "canary_plan/default", '{"fence": 3, "shares": []}'
    canary = move_alias(ledger, "support", "default", "v2", switch=(name, '{"fence": 2, "shares": [0.1]}'))
    assert move_alias(ledger, "support", "default", "v2") == canary, "without a plan there is nothing to change"
    direct = move_alias(ledger, "support", "default", "v2", switch=(name, directly))
    assert (direct.fence, direct.version_id, direct.previous_version_id) == (3, "v2", "v1")
    assert ledger.switch("support", name) == directly
    with ledger.write() as connection:
        observe_alias(connection, "support", "default", version_id="v2", fence=3)
    live = get_alias(ledger, "support", "default")
    again = move_alias(ledger, "support", "default", "v2", switch=(name, '{"fence": 4, "shares": []}'))
    assert again == live, "what is live already stays as it is"


def test_of_twenty_moves_at_once_without_a_fence_none_is_refused_and_each_has_its_own(ledger: Ledger) -> None:
    add_versions(ledger, "start", *(f"v{n}" for n in range(20)))
    move_alias(ledger, "support", "default", "start")
    won: list[int] = []

    def move(name: str) -> None:
        won.append(move_alias(ledger, "support", "default", name).fence)

    threads = [threading.Thread(target=move, args=(f"v{n}",)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == list(range(2, 22))


def test_observing_never_changes_what_is_desired(ledger: Ledger) -> None:
    add_versions(ledger, "v1")
    move_alias(ledger, "support", "default", "v1")
    with ledger.write() as connection:
        observe_alias(connection, "support", "default", version_id="v0", fence=1, error="fingerprint differs")
    alias = get_alias(ledger, "support", "default")
    assert (alias.version_id, alias.observed_version_id, alias.observed_error) == ("v1", "v0", "fingerprint differs")


def test_an_alias_that_is_not_there_is_named_with_its_project(ledger: Ledger) -> None:
    add_versions(ledger, "v1")
    move_alias(ledger, "billing", "default", "v1")
    with pytest.raises(NotFoundError, match="'support' has no alias 'default'"):
        get_alias(ledger, "support", "default")


PROJECTS = ("support", "billing")


@pytest.fixture
def loops(settings: Settings, ledger: Ledger) -> dict[str, Settings]:
    """Two loops in one database, each with an alias `default`, and two published versions."""
    serve = settings.serve.model_copy(update={"alias": "default"})
    found = {name: settings.model_copy(update={"project": name, "serve": serve}) for name in PROJECTS}
    for project in PROJECTS:
        add_versions(ledger, f"{project}_v1", f"{project}_v2", project=project)
    return found


def test_two_loops_with_the_same_alias_promote_and_roll_back_side_by_side(
    loops: dict[str, Settings], ledger: Ledger
) -> None:
    for project, own in loops.items():
        assert controls.promote(ledger, own.alias_key, f"{project}_v1").fence == 1
        controls.promote(ledger, own.alias_key, f"{project}_v2")
    assert controls.rollback(ledger, loops["support"].alias_key).version_id == "support_v1"
    billing = get_alias(ledger, "billing", "default")
    assert (billing.version_id, billing.previous_version_id, billing.fence) == ("billing_v2", "billing_v1", 2)


def test_a_loop_does_not_promote_a_version_of_another(loops: dict[str, Settings], ledger: Ledger) -> None:
    with pytest.raises(NotFoundError, match="billing_v1"):
        controls.promote(ledger, loops["support"].alias_key, "billing_v1")
    assert find_alias(ledger, "support", "default") is None


def test_the_gateways_of_two_loops_with_the_same_alias_lead_and_report_side_by_side(
    loops: dict[str, Settings], ledger: Ledger
) -> None:
    elections, rows = dict[str, LeaderElection](), dict[str, Deployments]()
    for project, own in loops.items():
        controls.promote(ledger, own.alias_key, f"{project}_v1")
        elections[project] = LeaderElection(own.serve, ledger, own.alias_key)
        rows[project] = Deployments(ledger, own.alias_key, elections[project])
    for election in elections.values():
        election.look()
    assert all(election.is_leader for election in elections.values())
    for project, deployments in rows.items():
        deployments.is_ours = True
        alias = get_alias(ledger, project, "default")
        deployments.go_live(alias, alias.version_id, way="started", fence=alias.fence, error=None)
    rows["support"].observe(get_alias(ledger, "support", "default"), None, fence=1, error="its engine died")
    assert get_alias(ledger, "billing", "default").observed_error is None
    rows["support"].release()
    with ledger.read() as connection:
        leaders = [leader_of(connection, project, "default") for project in PROJECTS]
    assert leaders == [None, elections["billing"].name]
    stages = {row.project: row.stage for row in ledger.find(Deployment)}
    assert stages == {"support": DeploymentStage.RETIRED, "billing": DeploymentStage.LIVE}


def test_waiting_for_one_loop_is_not_held_up_by_the_canary_of_another(
    loops: dict[str, Settings], ledger: Ledger
) -> None:
    for project, own in loops.items():
        controls.promote(ledger, own.alias_key, f"{project}_v1")
    alias = get_alias(ledger, "support", "default")
    ledger.add(
        Deployment(
            id="canary",
            project="billing",
            alias="default",
            version_id="billing_v1",
            stage=DeploymentStage.CANARY,
            fence=alias.fence,
            reason="",
        )
    )
    limits = {"start_timeout_seconds": 0.3, "drain_timeout_seconds": 0.0, "room_timeout_seconds": 0.0}
    serve = loops["support"].serve.model_copy(update=limits)
    hasty = loops["support"].model_copy(update={"serve": serve})
    waiting = threading.Thread(target=_wait, args=(hasty, ledger), daemon=True)
    waiting.start()
    waiting.join(60)
    assert not waiting.is_alive()


def _wait(settings: Settings, ledger: Ledger) -> None:
    with pytest.raises(EngineError):
        wait_until_observed(settings.serve, ledger, get_alias(ledger, "support", "default"))
