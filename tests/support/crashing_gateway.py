"""A real gateway on a ledger and a fake engine, in a process of its own that tests kill.

The planted bug, `is_early`, acknowledges a row before its transaction is on disk.
"""

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import time
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess

import structlog
import uvloop

from driftwheel.machine.system import free_port
from driftwheel.records.nouns import Traffic
from driftwheel.settings.data import DatasetSettings, ModelSettings
from driftwheel.settings.serving import ServeSettings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.log import TrafficLog, Written
from serve.access.key_ring import ApiKeys
from serve.gateway import Gateway
from serve.metrics import GatewayMetrics
from serve.routing.table import EngineRoute, RoutingTable
from tests.support.fake_engine import FakeEngine

KEY = "a-key-for-the-suites"
ALIAS = "support"
VERSION = "version_1"
EARLY_SECONDS = 0.2


class EarlyLog(TrafficLog):
    """The planted bug: a row counts as written as soon as it is there, and is given to the log some time later.

    Logs that write asynchronously gather rows for such a while, or for longer.
    """

    def append(self, row: Traffic, written: Written) -> None:
        asyncio.get_running_loop().call_later(EARLY_SECONDS, super().append, row, lambda error: None)
        written(None)


def settings_for(url: str) -> Settings:
    """Return settings of a gateway on a ledger."""
    return Settings(
        project="durability",
        model=ModelSettings(base="none"),
        dataset=DatasetSettings(sources=["none"]),
        serve=ServeSettings(alias=ALIAS),
        storage={"database_url": url},
    )


def serve_gateway(url: str, port: int, engine_port: int, is_early: bool) -> None:
    """Serve until killed, and leave out the log, which has a line for each answer that a crash withholds."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable()
    uvloop.run(_gateway(settings_for(url), port, engine_port, is_early))


async def _gateway(settings: Settings, port: int, engine_port: int, is_early: bool) -> None:
    ledger, routes = Ledger(settings.database_url), RoutingTable()
    routes.add(EngineRoute(VERSION, "127.0.0.1", engine_port, VERSION))
    routes.point(ALIAS, VERSION)
    traffic_log = (EarlyLog if is_early else TrafficLog)(ledger)
    gateway = Gateway(settings, traffic_log, ledger, routes, GatewayMetrics(), ApiKeys([KEY]))
    await gateway.start("127.0.0.1", port)
    await asyncio.Event().wait()


def serve_engine(port: int) -> None:
    """Answer chat requests until killed."""
    uvloop.run(_engine(port))


async def _engine(port: int) -> None:
    await (await engine_server(port)).serve_forever()


async def engine_server(port: int) -> asyncio.Server:
    """Listen for chat requests; port 0 takes a free one."""
    return await FakeEngine(VERSION, {}).listen(port)


class Processes:
    """The gateway, which can be killed and started again, and the engine, which lives on."""

    def __init__(self, url: str, *, is_early: bool = False) -> None:
        # Forked from a process that has imported everything, so that a restart takes no second.
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__])
        self._url, self._is_early = url, is_early
        self.port, engine_port = free_port(), free_port()
        self._engine_port = engine_port
        self._engine = self._context.Process(target=serve_engine, args=(engine_port,), daemon=True)
        self._engine.start()
        self._gateway = self._start()

    def _start(self) -> BaseProcess:
        arguments = (self._url, self.port, self._engine_port, self._is_early)
        gateway = self._context.Process(target=serve_gateway, args=arguments, daemon=True)
        gateway.start()
        return gateway

    def kill_and_restart(self) -> None:
        """SIGKILL the gateway, and start another."""
        os.kill(self._gateway.pid or 0, signal.SIGKILL)
        self._gateway.join()
        self._gateway = self._start()

    def stop(self) -> None:
        """Kill both."""
        for process in (self._gateway, self._engine):
            process.kill()
            process.join()


def free_ports(count: int) -> list[int]:
    """Return ports in a row that nothing listens on, as gateways that share one need them."""
    while True:
        first = free_port()
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return [*range(first, first + count)]


def wait_for(port: int, seconds: float = 60) -> None:
    """Wait until something listens; raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise TimeoutError(f"nothing listens on port {port}")
