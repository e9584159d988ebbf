"""Artifacts of the fake engine, and how to start one through the real code."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from driftwheel.control import controls
from driftwheel.files.artifacts import write_json, writing
from driftwheel.settings.serving import ServeSettings
from serve.engines.engine import Engine
from tests.support import fake_gateway
from tests.support.fake_world import World

StartEngine = Callable[[ServeSettings, Path, Path, str, int], Engine]
MakeArtifact = Callable[..., Path]
MakeWorld = Callable[..., World]


@pytest.fixture
def start_fake() -> Iterator[StartEngine]:
    """Start a fake engine on an artifact, checked as a real one is; whatever still runs is stopped at the end."""
    engines: list[Engine] = []

    def start(serve: ServeSettings, logs: Path, artifact: Path, name: str, replica: int = 0) -> Engine:
        engines.append(fake_gateway.start(serve, logs, artifact, name, replica))
        return engines[-1]

    yield start
    for engine in engines:
        engine.stop()


@pytest.fixture
def make_artifact(tmp_path: Path) -> MakeArtifact:
    """Write an artifact whose engine answers every probe with the given tokens and log-probability."""

    def make(name: str, **facts: Any) -> Path:
        path = tmp_path / "artifacts" / name
        with writing(path, {"run_id": name}) as folder:
            write_json(folder / "answers.json", {"tokens": ["yes", "."], "logprob": -0.5, **facts})
        return path

    return make


def is_alive(process_id: int) -> bool:
    """Say whether a process runs; a zombie does not."""
    with contextlib.suppress(OSError):
        os.kill(process_id, 0)
        state = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        return state != "Z"
    return False


@pytest.fixture
def wait_until_dead() -> Callable[[int], None]:
    """Wait until a process is gone; fails after a minute."""

    def wait(process_id: int) -> None:
        deadline = time.monotonic() + 60
        while is_alive(process_id):
            assert time.monotonic() < deadline, f"process {process_id} still runs"
            time.sleep(0.02)

    return wait


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[MakeWorld]:
    """Start the gateway process in front of fake engines, with version v1 live."""
    worlds: list[World] = []

    def make(facts: dict[str, Any] | None = None, **serve: Any) -> World:
        world = World(tmp_path, serve)
        worlds.append(world)
        world.publish("v1", **(facts or {}))
        controls.promote(world.ledger, world.settings.alias_key, "v1")
        world.start()
        world.until(world.is_settled)
        return world

    yield make
    for world in worlds:
        world.stop()
