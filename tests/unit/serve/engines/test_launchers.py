"""A launcher is chosen by the settings, and a new kind of engine is one class and one line."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from driftwheel.errors import ArtifactError, EngineError
from driftwheel.files.artifacts import write_json, writing
from driftwheel.records.nouns import ModelVersion
from driftwheel.records.probe_answers import Fingerprint
from driftwheel.settings.serving import ServeSettings
from driftwheel.settings.settings import Settings
from serve.engines.adapters import StartEngine
from serve.engines.engine import start_artifact
from serve.engines.fleet import Fleet
from serve.engines.launchers import LAUNCHERS, Launcher, launcher_for
from serve.engines.local_engines import LocalLauncher
from serve.engines.remote import RemoteEngine, RemoteLauncher
from serve.routing.table import RoutingTable
from tests.support.fake_engine import FakeEngine
from tests.support.fake_world import PROBE
from tests.support.versions import published_version

VERSION = published_version(
    "version_1", path="/nowhere", manifest_hash="none", fingerprint=Fingerprint(probes=(PROBE,))
)
CLUSTER = "cluster://two"


class ClusterLauncher:
    """A kind of engine that the product does not know: a cluster has two of each version."""

    ports: tuple[int, ...] = ()

    def __init__(self, serve: ServeSettings, logs: Path, start: StartEngine) -> None:
        self.engines_per_version = 2

    @classmethod
    def takes(cls, serve: ServeSettings) -> bool:
        return serve.engines == [CLUSTER]

    def check(self, version: ModelVersion) -> None:
        """It loads no bytes here."""

    def needs_start(self, version: ModelVersion) -> bool:
        return True

    async def places(self, version: ModelVersion) -> list[str]:
        return [str(port) for port in self.ports]

    def launch(self, version: ModelVersion, place: str) -> RemoteEngine:
        return RemoteEngine(version.id, "127.0.0.1", int(place))


def with_engines(settings: Settings, *urls: str) -> ServeSettings:
    return settings.serve.model_copy(update={"engines": list(urls)})


@pytest.mark.parametrize(
    ("urls", "kind"), [((), LocalLauncher), (("http://127.0.0.1:1",), RemoteLauncher)], ids=["here", "elsewhere"]
)
def test_the_settings_choose_the_launcher(settings: Settings, urls: tuple[str, ...], kind: type) -> None:
    assert isinstance(launcher_for(with_engines(settings, *urls), settings.logs, start_artifact), kind)


def test_a_new_kind_of_engine_is_one_class_and_one_line(settings: Settings) -> None:
    async def serve_through_a_cluster() -> tuple[list[int], str]:
        facts = {"tokens": PROBE.tokens, "logprob": -0.5}
        servers = [await FakeEngine(VERSION.id, facts).listen(0) for _ in range(2)]
        ClusterLauncher.ports = tuple(server.sockets[0].getsockname()[1] for server in servers)
        routes = RoutingTable()
        launchers: tuple[type[Launcher], ...] = (ClusterLauncher, *LAUNCHERS)
        fleet = Fleet(with_engines(settings, CLUSTER), settings.logs, routes, launchers=launchers)
        await fleet.ensure(VERSION)
        assert routes.pick(VERSION.id) is None  # nothing gets a request before it is admitted
        fleet.admit(VERSION.id)
        served = sorted(route.port for route in routes.replicas(VERSION.id))
        way = fleet.way(VERSION.id)
        await fleet.stop()
        for server in servers:
            server.close()
        return served, way

    served, way = asyncio.run(serve_through_a_cluster())
    assert served == sorted(ClusterLauncher.ports)
    assert way == RemoteEngine.way


def test_engines_elsewhere_that_list_no_such_version_are_named(settings: Settings) -> None:
    launcher = RemoteLauncher(with_engines(settings, "http://127.0.0.1:1"), settings.logs, start_artifact)
    with pytest.raises(EngineError, match="--served-model-name version_1"):
        asyncio.run(launcher.places(VERSION))


def test_a_folder_with_other_bytes_than_were_judged_is_refused(settings: Settings, tmp_path: Path) -> None:
    with writing(tmp_path / "artifact", {}) as folder:
        write_json(folder / "answers.json", {})
    version = replace(VERSION, path=str(tmp_path / "artifact"))
    with pytest.raises(ArtifactError, match="another artifact than version_1"):
        LocalLauncher(settings.serve, settings.logs, start_artifact).check(version)
