"""A gateway process in front of tests/support/upstream.py, with its durable log in a folder.

python -m tests.support.served FOLDER UPSTREAM_PORT [BUG]

Prints its port; serves until it is stopped. BUG breaks it in a way of tests/support/planted_bugs.py.
"""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import uvloop

from driftwheel.cli.process import set_up_logging
from driftwheel.settings.load import load_settings
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.log import TrafficLog
from serve.access.key_ring import ApiKeys
from serve.gateway import Gateway
from serve.metrics import GatewayMetrics
from serve.routing.table import EngineRoute, RoutingTable
from serve.server import spare_the_collector
from tests.support.planted_bugs import PLANTS

KEY = "bench-8fK2mQ9xLw4TzR7vYp1N"
ATTACKERS_KEY = "bench-attacker-3hVn8sXe2Rq"
VERSION = "version_bench"
SETTINGS = "project: bench\nmodel: {base: base}\ndataset: {sources: [seed.jsonl]}\nserve: {alias: bench}\n"


@dataclass
class Served:
    """A gateway that answers on `port`."""

    port: int
    pid: int
    ledger_url: str
    engine_port: int


@contextlib.contextmanager
def serving(folder: Path, plant: str | None = None) -> Iterator[Served]:
    """Run upstream and gateway as processes of their own for as long as the block lasts."""
    with _process("tests.support.upstream") as (_, port), gateway_before(int(port), folder, plant) as served:
        yield served


@contextlib.contextmanager
def gateway_before(engine_port: int, folder: Path, plant: str | None = None) -> Iterator[Served]:
    """Run a gateway in front of an engine of loopback, as a process that logs into `gateway.log` in a folder."""
    (folder / "driftwheel.yaml").write_text(SETTINGS, encoding="utf-8")
    url = load_settings(folder / "driftwheel.yaml", environ={}).database_url
    with (
        (folder / "gateway.log").open("wb") as log,
        _process(__name__, str(folder), str(engine_port), *([plant] if plant else []), stderr=log) as made,
    ):
        yield Served(int(made[1]), made[0].pid, url, engine_port)


@contextlib.contextmanager
def _process(
    module: str, *arguments: str, stderr: IO[bytes] | None = None
) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    module = "tests.support.served" if module == "__main__" else module
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(60)
        if process.stdout is not None:
            process.stdout.close()


async def main(folder: Path, upstream_port: int, plant: str | None) -> None:
    """Serve until the process is stopped."""
    set_up_logging("gateway")
    settings = load_settings(folder / "driftwheel.yaml", environ={})
    ledger, routes = Ledger(settings.database_url), RoutingTable()
    routes.add(EngineRoute(VERSION, "127.0.0.1", upstream_port, VERSION))
    routes.point(settings.serve.alias, VERSION)
    gateway = Gateway(settings, TrafficLog(ledger), ledger, routes, GatewayMetrics(), ApiKeys([KEY, ATTACKERS_KEY]))
    if plant is not None:
        PLANTS[plant](gateway)
    server = await gateway.start("127.0.0.1", 0)
    spare_the_collector()
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None))
