"""An engine without tokens gets no requests, is stopped when it hangs, and is left alone when it is busy."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from driftwheel.settings.settings import Settings
from serve.engines.engine import Engine
from serve.engines.health import MISSED_UNTIL_OUT, MISSED_UNTIL_STOPPED, Health
from serve.routing.table import EngineRoute, RoutingTable

StartEngine = Callable[..., Engine]


@dataclass
class World:
    """One engine, its route, and the health loop that watches it."""

    engine: Engine
    route: EngineRoute
    health: Health
    hurried: Health
    """For what hangs: it gives up soon, as the other one, on a slow machine, must not."""

    def check(self) -> bool:
        return asyncio.run(self.health.check(self.route))

    def check_hung(self) -> bool:
        return asyncio.run(self.hurried.check(self.route))


@pytest.fixture
def world(settings: Settings, start_fake: StartEngine, make_artifact: Callable[..., Path]) -> World:
    engine = start_fake(settings.serve, settings.logs, make_artifact("v1"), "v1")
    engine.wait_ready(60)
    routes = RoutingTable()
    routes.add(EngineRoute("v1", "127.0.0.1", engine.port, "v1"))
    route = routes.routes()[0]
    patient, hurried = (
        Health(settings.serve, routes, {route: engine}.get, token_timeout_seconds=seconds) for seconds in (60, 0.3)
    )
    return World(engine, route, patient, hurried)


def test_a_token_proves_an_engine(world: World) -> None:
    before = time.monotonic()
    assert world.check()
    assert world.route.last_token_at is not None
    assert world.route.last_token_at >= before


def test_an_engine_that_died_is_out_at_once(world: World) -> None:
    world.engine.process.kill()
    world.engine.process.wait()
    assert not world.check()
    assert not world.route.is_ready


def test_an_engine_that_hangs_is_out_after_two_missed_tokens_and_back_when_it_answers(world: World) -> None:
    os.kill(world.engine.process.pid, signal.SIGSTOP)
    ready = [world.check_hung() or world.route.is_ready for _ in range(MISSED_UNTIL_OUT)]
    os.kill(world.engine.process.pid, signal.SIGCONT)
    assert ready == [True, False]
    assert world.check()
    assert (world.route.is_ready, world.route.failures) == (True, 0)


def test_an_engine_that_goes_on_hanging_is_stopped(world: World) -> None:
    os.kill(world.engine.process.pid, signal.SIGSTOP)
    for _ in range(MISSED_UNTIL_STOPPED):
        assert world.engine.is_running
        world.check_hung()
    assert not world.engine.is_running


def test_an_engine_that_is_only_busy_with_users_stays(world: World) -> None:
    async def check_while_a_user_gets_tokens() -> bool:
        asyncio.get_running_loop().call_later(0.1, lambda: setattr(world.route, "last_token_at", time.monotonic()))
        return await world.hurried.check(world.route)

    os.kill(world.engine.process.pid, signal.SIGSTOP)
    answers = [asyncio.run(check_while_a_user_gets_tokens()) for _ in range(MISSED_UNTIL_STOPPED)]
    os.kill(world.engine.process.pid, signal.SIGCONT)
    assert all(answers)
    assert world.route.is_ready


def test_a_route_without_engine_is_not_healthy(world: World) -> None:
    assert not asyncio.run(world.health.check(EngineRoute("unknown", "127.0.0.1", world.route.port, "v1")))


@pytest.mark.parametrize("fault", ["nan", "null", "error", "empty"])
def test_an_engine_that_answers_what_is_no_token_is_out_without_a_timeout(
    settings: Settings, start_fake: StartEngine, make_artifact: Callable[..., Path], tmp_path: Path, fault: str
) -> None:
    engine = start_fake(settings.serve, settings.logs, make_artifact("v1", fault_path=str(tmp_path / "fault")), "v1")
    engine.wait_ready(60)
    route, routes = EngineRoute("v1", "127.0.0.1", engine.port, "v1"), RoutingTable()
    routes.add(route)
    health = Health(settings.serve, routes, {route: engine}.get, token_timeout_seconds=60)
    assert asyncio.run(health.check(route))
    (tmp_path / "fault").write_text(fault)
    began_at = time.monotonic()
    assert [asyncio.run(health.check(route)) or route.is_ready for _ in range(MISSED_UNTIL_OUT)] == [True, False]
    assert time.monotonic() - began_at < 60


def test_an_engine_whose_own_count_of_tokens_grows_is_only_busy(
    settings: Settings, start_fake: StartEngine, make_artifact: Callable[..., Path], tmp_path: Path
) -> None:
    engine = start_fake(settings.serve, settings.logs, make_artifact("v1", fault_path=str(tmp_path / "fault")), "v1")
    engine.wait_ready(60)
    route = EngineRoute("v1", "127.0.0.1", engine.port, "v1")
    health = Health(settings.serve, RoutingTable(), {route: engine}.get, token_timeout_seconds=0.2)
    (tmp_path / "fault").write_text("busy")
    assert [asyncio.run(health.check(route)) for _ in range(4)] == [False, True, True, True]
    (tmp_path / "fault").write_text("hang")
    assert [asyncio.run(health.check(route)) for _ in range(2)] == [False, False]
    assert not route.is_ready
