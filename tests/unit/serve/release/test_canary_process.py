"""A canary behind the real gateway process: a broken one is out within seconds and its users are answered by live."""

import asyncio
import re
from collections.abc import Callable

from driftwheel.control import controls
from driftwheel.records.nouns import Deployment, DeploymentStage, Traffic
from tests.support.fake_world import World

MakeWorld = Callable[..., World]


def test_a_crash_canary_is_out_within_forty_answers_and_its_users_are_answered_by_live(make_world: MakeWorld) -> None:
    world = make_world()
    world.publish("v2", fails_share=1.0)
    controls.promote(world.ledger, world.settings.alias_key, "v2", canary_shares=[0.2])
    world.until(lambda: world.stages().get("v2") is DeploymentStage.CANARY)
    answers = asyncio.run(world.load(40, 60, lambda: world.alias().observed_error is not None))
    assert {answer.status for answer in answers} == {200}
    assert {answer.version_id for answer in answers} == {"v1"}
    failed = world.ledger.find(Traffic, version_id="v2")
    assert len(failed) >= 3
    assert {row.error for row in failed} == {"the engine answered 500"}
    alias = world.alias()
    assert "canary rolled back" in str(alias.observed_error)
    assert (alias.version_id, alias.observed_version_id, alias.observed_fence) == ("v2", "v1", alias.fence)
    (row,) = world.ledger.find(Deployment, version_id="v2")
    said = re.search(r"rolled back: (\d+) of \1 answers of the canary failed against 0 of", row.reason)
    assert said is not None
    assert int(said[1]) <= 40, "a fifth of 40 requests a second: five seconds, however slow the machine's are"
    world.until(lambda: world.stages()["v2"] is DeploymentStage.RETIRED)
    assert [d.share for d in world.ledger.find(Deployment, version_id="v1", stage=DeploymentStage.LIVE.value)] == [1.0]


def test_a_good_canary_gets_its_shares_and_goes_live(make_world: MakeWorld) -> None:
    world = make_world(canary_min_requests=5, rollout="canary", canary_shares=[0.2, 0.6], canary_seconds=0.5)
    world.publish("v2")
    controls.promote(world.ledger, world.settings.alias_key, "v2")
    answers = asyncio.run(world.load(40, 120, lambda: world.alias().observed_version_id == "v2"))
    answers += asyncio.run(world.load(40, 0.3))
    assert {answer.status for answer in answers} == {200}
    assert {answer.version_id for answer in answers} == {"v1", "v2"}
    assert answers[-1].version_id == "v2"
    assert re.findall(r"canary begins +share=(\S+)", world.log_path.read_text()) == ["0.2", "0.6"]
    controls.rollback(world.ledger, world.settings.alias_key)
    world.until(lambda: world.alias().observed_version_id == "v1")
    stages = [row.stage for row in world.ledger.find(Deployment, version_id="v1")]
    assert DeploymentStage.CANARY not in stages, "at once"


def test_after_a_restart_the_old_version_serves_beside_the_canary(make_world: MakeWorld) -> None:
    world = make_world()
    world.publish("v2")
    controls.promote(world.ledger, world.settings.alias_key, "v2", canary_shares=[0.5])
    world.until(lambda: world.stages().get("v2") is DeploymentStage.CANARY)
    assert world.process is not None
    world.process.kill()
    world.process.wait()
    before = len(world.log_path.read_text())
    world.start()
    world.until(lambda: "canary begins" in world.log_path.read_text()[before:])
    assert world.stages() == {"v1": DeploymentStage.LIVE, "v2": DeploymentStage.CANARY}
    answers = asyncio.run(world.load(40, 1))
    assert {answer.version_id for answer in answers} == {"v1", "v2"}
    assert {answer.status for answer in answers} == {200}


def test_a_canary_is_let_go_live_at_once(make_world: MakeWorld) -> None:
    world = make_world(canary_min_requests=1_000_000)
    world.publish("v2")
    controls.promote(world.ledger, world.settings.alias_key, "v2", canary_shares=[0.2])
    world.until(lambda: world.stages().get("v2") is DeploymentStage.CANARY)
    controls.promote(world.ledger, world.settings.alias_key, "v2", canary_shares=[])
    world.until(lambda: world.alias().observed_version_id == "v2")
    assert world.stages()["v2"] is DeploymentStage.LIVE
    assert world.alias().previous_version_id == "v1"
