"""What the alias row desires becomes what users get, but only after a proof; the last good version stays up."""

import asyncio
import os
import re
import signal
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from driftwheel.control import controls
from driftwheel.errors import ConflictError, NotFoundError, StorageError
from driftwheel.files.artifacts import read_manifest
from driftwheel.machine.accelerator import Accelerator, Gpu
from driftwheel.machine.gpu_room import FOLDER, Wanted, reserve
from driftwheel.records.by_whom import Action, Cause
from driftwheel.records.nouns import Alias, Deployment, DeploymentStage, ModelVersion, ModelVersionStatus
from driftwheel.records.probe_answers import Fingerprint, ProbeAnswer
from driftwheel.settings.serving import ServeSettings
from driftwheel.settings.settings import Settings
from driftwheel.store.alias import move_alias
from driftwheel.store.events import events_of
from driftwheel.store.ledger import Ledger
from driftwheel.store.sqlite import safe_sqlite_module
from serve.engines.engine import Engine
from serve.release.reconciler import Reconciler
from serve.release.unwritten import is_written_down
from serve.routing.table import RoutingTable
from tests.support.versions import add_with_parents, published_version

StartEngine = Callable[..., Engine]
MakeArtifact = Callable[..., Path]
PROBE = ProbeAnswer(messages=({"role": "user", "content": "hi"},), tokens=("yes", "."), logprobs=(-0.5, -0.5))


@dataclass
class World:
    """A ledger with versions, and gateways' rollouts over it."""

    settings: Settings
    ledger: Ledger
    start_fake: StartEngine
    make_artifact: MakeArtifact
    starts: list[str] = field(default_factory=list)
    routes: RoutingTable = field(default_factory=RoutingTable)
    rollout: Reconciler = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Make a new rollout, as a gateway that starts does."""
        self.routes = RoutingTable()
        self.rollout = Reconciler(self.settings, self.ledger, self.routes, self._start)

    def _start(self, serve: ServeSettings, logs: Path, artifact: Path, name: str, replica: int) -> Engine:
        self.starts.append(name)
        return self.start_fake(serve, logs, artifact, name, replica)

    def publish(self, id: str, status: ModelVersionStatus = ModelVersionStatus.PUBLISHED, **facts: Any) -> None:
        path = self.make_artifact(id, **facts)
        version = published_version(
            id,
            status=status,
            path=str(path),
            manifest_hash=read_manifest(path).content_hash,
            fingerprint=Fingerprint(probes=(PROBE,)),
        )
        add_with_parents(self.ledger, version)

    def desire(self, version_id: str) -> None:
        move_alias(self.ledger, "support", "support", version_id)

    def desire_unknown(self, version_id: str) -> None:
        """Do what only a database from before the foreign keys holds: an alias of a version that is not there."""
        with closing(safe_sqlite_module().connect(sa.make_url(self.settings.database_url).database)) as connection:
            connection.execute("UPDATE alias SET version_id = ?, fence = fence + 1", (version_id,))  # keys are off here
            connection.commit()

    def alias(self) -> Alias:
        return self.ledger.get(Alias, "support/support")

    def served(self) -> str | None:
        route = self.routes.pick("support")
        return route.version_id if route is not None else None

    def stages(self) -> dict[str, DeploymentStage]:
        return {row.version_id: row.stage for row in self.ledger.find(Deployment, newest_first=False)}

    async def until(self, holds: Callable[[], object], timeout_seconds: float = 60) -> None:
        deadline = time.monotonic() + timeout_seconds
        while not holds():
            assert time.monotonic() < deadline, f"serves {self.served()}, {self.alias()}"
            await self.rollout.reconcile()
            await asyncio.sleep(0.02)

    async def make_live(self, version_id: str) -> None:
        self.desire(version_id)
        await self.until(lambda: self.alias().observed_fence == self.alias().fence)
        assert self.served() == version_id

    def engine(self, version_id: str) -> Engine:
        engine = self.rollout.engine_of(self.routes.replicas(version_id)[0])
        assert isinstance(engine, Engine)
        return engine

    def kill(self, version_id: str) -> None:
        self.engine(version_id).process.kill()
        self.engine(version_id).process.wait()


@pytest.fixture
def world(settings: Settings, ledger: Ledger, start_fake: StartEngine, make_artifact: MakeArtifact) -> World:
    return World(settings, ledger, start_fake, make_artifact)


def test_a_way_back_needs_no_database_and_is_written_down_afterwards(world: World) -> None:
    """A database that was locked or read-only kept the bad version live for as long as it was."""
    settings, ledger = world.settings, world.ledger

    def only_read(connection: Any, *_: Any) -> None:
        connection.execute("PRAGMA query_only=ON")

    def write_again(connection: Any, *_: Any) -> None:
        connection.execute("PRAGMA query_only=OFF")

    async def written_down() -> bool:
        return await is_written_down(ledger, settings.alias_key, world.routes)

    async def scene() -> None:
        for id in ("v1", "v2"):
            world.publish(id)
            await world.make_live(id)
        await world.rollout.reconcile()
        sa.event.listen(ledger.engine, "checkout", only_read)
        with pytest.raises(StorageError):
            controls.rollback(ledger, settings.alias_key)
        by = Cause(actor="support/ops", reason="it swears")
        began_at = time.monotonic()
        assert world.routes.go_back(by).version_id == "v1"
        assert time.monotonic() - began_at < 30
        assert world.served() == "v1"
        assert not await written_down()
        with pytest.raises(ConflictError, match="gone back to v1"):
            world.routes.point("support", "v2")  # a swap that was under way
        assert (world.served(), world.alias().version_id) == ("v1", "v2")
        sa.event.remove(ledger.engine, "checkout", only_read)
        sa.event.listen(ledger.engine, "checkout", write_again)
        assert await written_down()
        await world.until(lambda: world.alias().observed_version_id == "v1")
        assert (world.served(), world.alias().version_id, world.routes.order) == ("v1", "v1", None)
        (event,) = events_of(ledger, "support", actions=[Action.ROLL_BACK])
        assert (event.actor, event.reason) == ("support/ops", "it swears")

    asyncio.run(scene())


def test_a_way_back_that_somebody_overtook_leaves_the_row_as_it_is(world: World) -> None:
    async def scene() -> None:
        for id in ("v1", "v2"):
            world.publish(id)
            await world.make_live(id)
        await world.rollout.reconcile()
        world.routes.go_back(Cause(actor="support/ops"))
        world.publish("v3")
        world.desire("v3")
        assert await is_written_down(world.ledger, world.settings.alias_key, world.routes)
        assert world.alias().version_id == "v3"
        await world.until(lambda: world.served() == "v3")

    asyncio.run(scene())


def test_there_is_no_way_back_without_an_engine(world: World) -> None:
    async def scene() -> None:
        world.publish("v1")
        await world.make_live("v1")
        with pytest.raises(NotFoundError, match="no earlier version"):
            world.routes.go_back(Cause(actor="support/ops"))

    asyncio.run(scene())


def test_the_desired_version_goes_live_and_both_sides_are_written_down(world: World) -> None:
    async def scene() -> None:
        await world.rollout.reconcile()
        assert world.served() is None  # nobody has promoted anything
        world.publish("v1")
        await world.make_live("v1")

    asyncio.run(scene())
    alias = world.alias()
    assert (alias.observed_version_id, alias.observed_fence, alias.observed_error) == ("v1", alias.fence, None)
    assert world.stages() == {"v1": DeploymentStage.LIVE}


def test_a_swap_keeps_the_old_engine_so_that_a_rollback_starts_none(world: World) -> None:
    async def scene() -> None:
        world.publish("v1")
        world.publish("v2")
        await world.make_live("v1")
        await world.make_live("v2")
        await world.until(lambda: world.stages() == {"v1": DeploymentStage.SHADOW, "v2": DeploymentStage.LIVE})
        assert world.routes.pick("v1") is not None  # warm under its exact name
        await world.make_live("v1")
        assert world.starts == ["v1", "v2"]
        await world.until(lambda: world.stages() == {"v1": DeploymentStage.LIVE, "v2": DeploymentStage.SHADOW})

    asyncio.run(scene())


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "another model": ({"logprob": -0.7}, "not the model that was judged: log-probabilities differ by 0.2"),
    "another answer": ({"tokens": ["no", "."]}, "not the model that was judged"),
    "dies at start": ({"dies": True}, "died at start .* no such architecture"),
    "rejected": ({"status": ModelVersionStatus.REJECTED}, "v2 is rejected, not published"),
    "candidate": ({"status": ModelVersionStatus.CANDIDATE}, "v2 is candidate, not published"),
}


@pytest.mark.parametrize(("facts", "error"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_refused_version_never_serves_and_the_row_says_why(world: World, facts: dict[str, Any], error: str) -> None:
    async def scene() -> None:
        world.publish("v1")
        world.publish("v2", **facts)
        await world.make_live("v1")
        world.desire("v2")
        await world.until(lambda: world.alias().observed_error)

    asyncio.run(scene())
    assert (world.served(), world.alias().observed_version_id) == ("v1", "v1")
    assert world.routes.replicas("v2") == []
    assert [route.version_id for route in world.routes.routes()] == ["v1"]
    assert world.stages() == {"v1": DeploymentStage.LIVE}
    assert re.search(error, str(world.alias().observed_error))


def test_an_artifact_with_a_changed_byte_is_refused_before_load(world: World) -> None:
    async def scene() -> None:
        world.publish("v1")
        world.publish("v2")
        await world.make_live("v1")
        path = Path(world.ledger.get(ModelVersion, "v2").path) / "answers.json"
        path.write_bytes(path.read_bytes().replace(b"0.5", b"0.6"))
        world.desire("v2")
        await world.until(lambda: world.alias().observed_error)
        assert "answers.json does not match its manifest" in str(world.alias().observed_error)
        assert world.served() == "v1"

    asyncio.run(scene())


def test_a_folder_that_holds_another_finished_artifact_is_refused_before_load(world: World) -> None:
    async def scene() -> None:
        world.publish("v1")
        world.publish("v2")
        await world.make_live("v1")
        world.make_artifact("v2", tokens=["other"])  # built again in the same place, with a manifest of its own
        world.desire("v2")
        await world.until(lambda: world.alias().observed_error)
        assert "holds another artifact than v2 was judged on" in str(world.alias().observed_error)
        assert (world.served(), world.starts) == ("v1", ["v1"])

    asyncio.run(scene())


def test_a_wrong_model_is_tried_once_and_the_alias_may_move_on(world: World) -> None:
    async def scene() -> None:
        world.publish("v1")
        world.publish("v2", logprob=-0.7)
        world.publish("v3")
        await world.make_live("v1")
        world.desire("v2")
        await world.until(lambda: world.alias().observed_error)
        until = time.monotonic() + 2.5  # longer than the first back-off
        await world.until(lambda: time.monotonic() > until)
        assert world.starts == ["v1", "v2"]
        await world.make_live("v3")
        assert world.alias().observed_error is None

    asyncio.run(scene())


def test_a_failed_start_is_tried_again_after_a_while(world: World, tmp_path: Path) -> None:
    async def scene() -> None:
        world.publish("v1", dies_until_exists=str(tmp_path / "tried"))
        world.desire("v1")
        await world.until(lambda: world.alias().observed_error)
        await world.until(lambda: world.served() == "v1")
        assert world.starts == ["v1", "v1"]
        assert world.alias().observed_error is None

    asyncio.run(scene())


def test_a_live_engine_that_dies_is_started_again(world: World) -> None:
    async def scene() -> None:
        world.publish("v1")
        await world.make_live("v1")
        first = world.engine("v1")
        world.kill("v1")
        await world.until(lambda: world.served() == "v1" and world.engine("v1") is not first)
        assert world.engine("v1").is_running

    asyncio.run(scene())


def test_the_live_engine_is_started_again_while_another_version_is_refused(world: World) -> None:
    async def scene() -> None:
        world.publish("v1")
        world.publish("v2", logprob=-0.7)
        await world.make_live("v1")
        world.desire("v2")
        await world.until(lambda: world.alias().observed_error)
        world.kill("v1")
        await world.until(lambda: world.starts == ["v1", "v2", "v1"] and world.served() == "v1")
        assert world.engine("v1").is_running
        assert world.alias().observed_error is not None  # what is desired is still refused

    asyncio.run(scene())


def test_after_a_restart_the_last_good_version_serves_while_the_desired_one_is_refused(world: World) -> None:
    async def scene() -> None:
        world.publish("v1")
        world.publish("v2", logprob=-0.7)
        await world.make_live("v1")
        world.desire("v2")
        await world.until(lambda: world.alias().observed_error)
        await world.rollout.stop()
        assert world.stages() == {"v1": DeploymentStage.RETIRED}
        world.restart()
        await world.until(lambda: world.served() == "v1")
        assert world.starts == ["v1", "v2", "v1"]
        assert world.stages() == {"v1": DeploymentStage.LIVE}

    asyncio.run(scene())


def test_the_newest_wish_wins_over_an_engine_that_is_still_starting(world: World, tmp_path: Path) -> None:
    async def scene() -> None:
        world.publish("v1")
        loaded = tmp_path / "loaded"
        world.publish("v2", starts_when_exists=str(loaded))
        await world.make_live("v1")
        world.desire("v2")
        step = asyncio.create_task(world.rollout.reconcile())
        while "v2" not in world.starts:
            await asyncio.sleep(0.01)
        world.desire("v1")
        loaded.touch()
        await step
        assert world.served() == "v1"
        await world.until(lambda: world.alias().observed_fence == world.alias().fence)
        assert world.stages() == {"v1": DeploymentStage.LIVE}
        await world.make_live("v2")
        assert world.starts == ["v1", "v2"]  # it had stayed warm

    asyncio.run(scene())


def test_an_old_engine_finishes_its_requests_before_it_is_stopped_for_a_third(world: World) -> None:
    async def scene() -> None:
        for id in ("v1", "v2", "v3"):
            world.publish(id)
        await world.make_live("v1")
        route, old = world.routes.pick("support"), world.engine("v1")
        assert route is not None
        route.in_flight = 1
        await world.make_live("v2")
        await world.until(lambda: world.stages()["v1"] is DeploymentStage.DRAINING)
        world.desire("v3")
        step = asyncio.create_task(world.rollout.reconcile())
        await asyncio.sleep(0.3)
        assert (old.is_running, world.stages()["v1"]) == (True, DeploymentStage.DRAINING)
        route.in_flight = 0
        await step
        assert (old.is_running, world.stages()["v1"], world.served()) == (False, DeploymentStage.RETIRED, "v3")

    asyncio.run(scene())


def test_an_engine_is_warm_only_for_so_long(world: World) -> None:
    serve = world.settings.serve.model_copy(update={"keep_warm_seconds": 0.3})
    world.settings = world.settings.model_copy(update={"serve": serve})
    world.restart()

    async def scene() -> None:
        world.publish("v1")
        world.publish("v2")
        await world.make_live("v1")
        old = world.engine("v1")
        await world.make_live("v2")
        await world.until(lambda: world.stages()["v1"] is DeploymentStage.RETIRED)
        assert not old.is_running
        assert world.served() == "v2"

    asyncio.run(scene())


def test_a_warm_engine_gives_way_to_a_training_that_waits_for_its_gpu(world: World) -> None:
    """The GPU is made up: it is full for as long as the warm engine runs."""

    async def scene() -> None:
        world.publish("v1")
        world.publish("v2")
        await world.make_live("v1")
        old = world.engine("v1")
        await world.make_live("v2")
        await world.until(lambda: world.stages()["v1"] is DeploymentStage.SHADOW)

        def look() -> Accelerator:
            return Accelerator(gpus=(Gpu(index=0, total_bytes=10, free_bytes=0 if old.is_running else 10),))

        training = Wanted(name="training", bytes_per_gpu=5, remedy="wait")
        waiting = asyncio.create_task(
            asyncio.to_thread(reserve, world.settings.root / FOLDER, training, [(0,)], 60, look)
        )
        await world.until(waiting.done)
        assert (await waiting).holder.name == "training"
        assert world.served() == "v2"

    asyncio.run(scene())
    assert world.stages() == {"v1": DeploymentStage.RETIRED, "v2": DeploymentStage.LIVE}


def test_stopping_ends_every_engine_and_retires_every_deployment(world: World) -> None:
    async def scene() -> list[Engine]:
        world.publish("v1")
        world.publish("v2")
        await world.make_live("v1")
        await world.make_live("v2")
        await world.until(lambda: world.stages()["v1"] is DeploymentStage.SHADOW)
        engines = [world.engine("v1"), world.engine("v2")]
        await world.rollout.stop()
        return engines

    assert [engine.is_running for engine in asyncio.run(scene())] == [False, False]
    assert world.stages() == {"v1": DeploymentStage.RETIRED, "v2": DeploymentStage.RETIRED}


def test_a_loop_outlives_a_version_that_is_not_there(world: World) -> None:
    async def scene() -> None:
        world.publish("v1")
        await world.make_live("v1")
        world.desire_unknown("v9")
        await world.until(lambda: world.alias().observed_error)
        assert "v9" in str(world.alias().observed_error)
        os.kill(world.engine("v1").process.pid, signal.SIGCONT)  # still there
        await world.make_live("v1")

    asyncio.run(scene())
