"""The whole of it in several processes: a gateway, two engine hosts on folders of their own, a store between them."""

import asyncio
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftwheel.control import controls
from driftwheel.control.engine_hosts import EngineState
from driftwheel.errors import ConfigError, ConflictError
from driftwheel.machine.system import only_process
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from serve.hosts.name_claim import NameClaim
from serve.verbs.engine_host import host_engines
from tests.support.engine_hosts import Host, HostedWorld

PER_SECOND = 20


class Scene:
    """Two hosts and a gateway, v1 live on both."""

    def __init__(self, folder: Path) -> None:
        self.world = HostedWorld(folder / "gateway", artifacts=str(folder / "store"))
        self.world.publish("v1", seconds=0.05)
        controls.promote(self.world.ledger, self.world.settings.alias_key, "v1")
        self.hosts = [Host(self.world, folder / name, name) for name in ("one", "two")]

    def start(self) -> None:
        for host in self.hosts:
            host.start()
        self.world.start()
        self.world.until(lambda: self.world.is_settled() and self.routes("v1") == 2)

    def routes(self, version_id: str) -> int:
        """Return how many engines hosts say that they have of a version."""
        return sum(host.states().get(version_id) is EngineState.PROVED for host in self.hosts)

    def stop(self) -> None:
        for host in self.hosts:
            if host.process is not None and host.process.poll() is None:
                host.process.terminate()
        self.world.stop()
        for host in self.hosts:
            host.stop()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    made = Scene(tmp_path_factory.mktemp("scene"))
    made.start()
    yield made
    made.stop()


def test_what_a_host_cannot_have_is_refused_with_what_it_says_and_the_old_version_serves(scene: Scene) -> None:
    world = scene.world
    wrong = world.publish("v9", logprob=-3.0)
    controls.promote(world.ledger, world.settings.alias_key, wrong.id)
    world.until(lambda: world.alias().observed_error)
    error = str(world.alias().observed_error)
    assert "one refused: the engine for v9 is not the model that was judged" in error
    assert "two refused" in error
    world.publish("v3")
    shutil.rmtree(Path(world.artifacts) / "artifacts")
    controls.promote(world.ledger, world.settings.alias_key, "v3")
    world.until(lambda: "v3" in str(world.alias().observed_error))
    assert "one refused: v3 has no files" in str(world.alias().observed_error)
    assert {answer.version_id for answer in asyncio.run(world.load(PER_SECOND, 0.5))} == {"v1"}


def test_a_swap_over_two_hosts_goes_on_when_an_agent_is_killed_in_it(scene: Scene) -> None:
    world, (one, two) = scene.world, scene.hosts
    loaded = world.folder / "loaded"
    world.publish("v2", seconds=0.05, starts_when_exists=str(loaded))

    async def swap() -> "Counter[tuple[int, str]]":
        def is_over() -> bool:
            return world.is_settled() and world.alias().observed_version_id == "v2" and scene.routes("v2") == 2

        load = asyncio.create_task(world.load(PER_SECOND, 180, is_over))
        await asyncio.sleep(0.3)
        controls.promote(world.ledger, world.settings.alias_key, "v2")
        while one.states().get("v2") is not EngineState.STARTING:
            await asyncio.sleep(0.02)
        one.kill()
        one.start()
        loaded.touch()
        return Counter((answer.status, answer.version_id) for answer in await load)

    answers = asyncio.run(swap())
    assert {status for status, _ in answers} == {200}, answers
    assert {version for _, version in answers} >= {"v1"}
    assert one.states()["v2"] is two.states()["v2"] is EngineState.PROVED
    # What was fetched lies in each host's own folder, and the trainer's is not read.
    for host in scene.hosts:
        assert (host.root / "artifacts" / "v2" / "manifest.json").is_file()
    # The version before is let go of when the gateway retires it, and only then stopped.
    world.until(lambda: world.stages()["v1"] in ("shadow", "retired"))


def test_a_host_that_is_ended_properly_is_let_go_of_before_its_engines_stop(scene: Scene) -> None:
    world, (one, two) = scene.world, scene.hosts

    async def end() -> "Counter[int]":
        load = asyncio.create_task(
            world.load(PER_SECOND, 180, lambda: one.process is not None and one.process.poll() is not None)
        )
        await asyncio.sleep(0.3)
        assert one.process is not None
        one.process.terminate()
        return Counter(answer.status for answer in await load)

    answers = asyncio.run(end())
    assert set(answers) == {200}, answers
    report = one.report()
    assert report is not None
    assert report.engines == ()
    assert two.states()[str(world.alias().observed_version_id)] is EngineState.PROVED


def test_one_folder_is_one_agents_and_the_address_is_this_machines(settings: Settings, ledger: Ledger) -> None:
    def run(address: str) -> None:
        claim = NameClaim(ledger, settings.alias_key, "one", settings.root, address)
        asyncio.run(host_engines(settings.serve, settings.storage, ledger, claim, settings.root))

    lock = only_process(settings.root / "engine-host.lock", "")
    with lock, pytest.raises(ConflictError, match="another agent keeps"):
        run("127.0.0.1")
    with pytest.raises(ConfigError, match=r"--address 192\.0\.2\.1 is no address of this machine"):
        run("192.0.2.1")
