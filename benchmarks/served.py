"""A folder becomes a running gateway process in front of benchmarks/upstream.py, with its durable log in the folder.

python -m benchmarks.served FOLDER UPSTREAM_PORT [--no-deadlines]

Prints its port; serves until it is stopped. `--no-deadlines` breaks it, to show that benchmarks/attack.py notices.
"""

import asyncio
import contextlib
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import uvloop

from driftwheel.config import load_settings
from driftwheel.ledger import Ledger
from driftwheel.traffic import TrafficLog
from serve.gateway import Gateway
from serve.keys import ApiKeys
from serve.load import Deadlines
from serve.metrics import GatewayMetrics
from serve.process import spare_the_collector
from serve.routes import EngineRoute, RoutingTable

KEY = "bench-8fK2mQ9xLw4TzR7vYp1N"
ATTACKERS_KEY = "bench-attacker-3hVn8sXe2Rq"
NO_DEADLINES = "--no-deadlines"
VERSION = "version_bench"
SETTINGS = "project: bench\nmodel: {base: base}\ndataset: {sources: [seed.jsonl]}\nserve: {alias: bench}\n"


@dataclass
class Served:
    """A gateway that answers on `port`."""

    port: int
    pid: int
    ledger_url: str


@contextlib.contextmanager
def serving(folder: Path, *flags: str) -> Iterator[Served]:
    """Run upstream and gateway as processes of their own for as long as the block lasts."""
    (folder / "driftwheel.yaml").write_text(SETTINGS, encoding="utf-8")
    url = load_settings(folder / "driftwheel.yaml", environ={}).database_url
    with (
        _process("benchmarks.upstream") as (_, upstream_port),
        _process(__name__, str(folder), upstream_port, *flags) as made,
    ):
        yield Served(int(made[1]), made[0].pid, url)


@contextlib.contextmanager
def _process(module: str, *arguments: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    module = "benchmarks.served" if module == "__main__" else module
    process = subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(30)
        if process.stdout is not None:
            process.stdout.close()


async def main(folder: Path, upstream_port: int, *, has_deadlines: bool) -> None:
    """Serve until the process is stopped."""
    settings = load_settings(folder / "driftwheel.yaml", environ={})
    ledger, routes = Ledger(settings.database_url), RoutingTable()
    routes.add(EngineRoute(VERSION, "127.0.0.1", upstream_port, VERSION))
    routes.point(settings.serve.alias, VERSION)
    gateway = Gateway(settings, TrafficLog(ledger), ledger, routes, GatewayMetrics(), ApiKeys([KEY, ATTACKERS_KEY]))
    if not has_deadlines:
        gateway.load.deadlines = Deadlines(*[math.inf] * 4)
    server = await gateway.start("127.0.0.1", 0)
    spare_the_collector()
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), int(sys.argv[2]), has_deadlines=NO_DEADLINES not in sys.argv))
