"""The disk is full at one write after another: no answer without its row, no half row, and soon all is well again.

    python -m tests.suites.disk_full                             # 100 points
    python -m tests.suites.disk_full --acknowledge-early         # the planted bug, which this must find

A real gateway answers clients while its ledger's disk, a recorded one, refuses every write from the k-th on. After five
refused writes and a random while there is room again, and the time to the next answer is taken.
"""

import argparse
import asyncio
import json
import logging
import random
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import structlog
import uvloop

from driftwheel.records.nouns import Traffic
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.log import TrafficLog
from serve.access.key_ring import ApiKeys
from serve.gateway import Gateway
from serve.metrics import GatewayMetrics
from serve.routing.table import EngineRoute, RoutingTable
from tests.suites.durability import upper_bound
from tests.support.acknowledged_load import Comparison, Load, compare
from tests.support.crashing_gateway import ALIAS, KEY, VERSION, EarlyLog, engine_server, settings_for
from tests.support.fake_engine import answer_to
from tests.support.recorded_disk import Disk, RecordedSqlite

CLIENTS = 16
WRITES_AHEAD = 60
REFUSED_WRITES = 5


async def fill_again_and_again(load: Load, disk: Disk, points: int, seed: int) -> list[float]:
    """Fill the disk at random writes; return the seconds from each end of it to the next answer."""
    chance, gaps = random.Random(seed), list[float]()
    running = asyncio.create_task(load.run())
    for _ in range(points):
        await load.wait_for(len(load.acknowledged) + CLIENTS)
        disk.events.clear()
        refused = disk.refused_writes
        disk.full_at_write = disk.writes + chance.randint(1, WRITES_AHEAD)
        while disk.refused_writes < refused + REFUSED_WRITES:
            await asyncio.sleep(0.005)
        await asyncio.sleep(chance.random() * 0.1)
        disk.full_at_write, freed_at = None, time.monotonic()
        while load.last_at < freed_at:
            await asyncio.sleep(0.002)
        gaps.append(load.last_at - freed_at)
    load.stop()
    await running
    return gaps


async def measure(folder: Path, *, points: int, seed: int, is_early: bool) -> tuple[Load, Disk, list[float]]:
    """Run gateway, engine and clients in one loop, on a disk that is full now and then."""
    disk, settings = Disk(), settings_for(f"sqlite:///{folder / 'ledger.db'}")
    ledger = Ledger(settings.database_url, sqlite_module=RecordedSqlite(disk))
    log, routes = (EarlyLog if is_early else TrafficLog)(ledger), RoutingTable()
    engine = await engine_server(0)
    routes.add(EngineRoute(VERSION, "127.0.0.1", engine.sockets[0].getsockname()[1], VERSION))
    routes.point(ALIAS, VERSION)
    gateway = Gateway(settings, log, ledger, routes, GatewayMetrics(), ApiKeys([KEY]))
    server = await gateway.start("127.0.0.1", 0)
    load = Load(server.sockets[0].getsockname()[1], CLIENTS)
    gaps = await fill_again_and_again(load, disk, points, seed)
    await gateway.stop(5)
    engine.close()
    log.close()
    ledger.close()
    return load, disk, gaps


def examine(folder: Path, load: Load) -> tuple[Comparison, int, bool]:
    """Compare the ledger with what was acknowledged; also count half rows, and say whether the database is sound."""
    ledger = Ledger(f"sqlite:///{folder / 'ledger.db'}")
    found = compare(ledger, load.acknowledged)
    half = sum(
        row.answer != answer_to(row.prompt, VERSION) for row in ledger.find(Traffic, status_code=200, is_partial=False)
    )
    with ledger.read() as connection:
        is_sound = connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
    ledger.close()
    return found, half, is_sound


def main() -> None:
    """Print what a full disk did."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--acknowledge-early", action="store_true", help="plant the bug")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        folder = Path(name)
        load, disk, gaps = uvloop.run(
            measure(folder, points=options.points, seed=options.seed, is_early=options.acknowledge_early)
        )
        found, half, is_sound = examine(folder, load)
    if options.json:
        wrong = found.lost + found.different + found.doubled + half + (not is_sound) + (max(gaps) > 10)
        counts = {"seed": options.seed, "tried": found.acknowledged, "failed": wrong}
        print(json.dumps({**asdict(found), **counts, "half": half, "is_sound": is_sound, "longest": max(gaps)}))
        return
    statuses = ", ".join(f"{count} of {status}" for status, count in sorted(load.statuses.items()))
    print(f"{options.points} times full, {disk.refused_writes} refused writes, seed {options.seed}")
    print(f"answers: {statuses}; {load.broken} streams cut off")
    bound = f" (95 % upper bound {upper_bound(found.acknowledged):.2g})" if found.lost == 0 else ""
    print(f"200 without a row: {found.lost} of {found.acknowledged}{bound}")
    print(f"rows that are not what was answered: {found.different}; doubled: {found.doubled}; half: {half}")
    print(f"the database is {'sound' if is_sound else 'CORRUPT'}")
    print(f"from room on the disk to the next answer: longest {max(gaps):.2f} s")
    sys.exit(bool(found.lost or found.different or found.doubled or half or not is_sound or max(gaps) > 10))


if __name__ == "__main__":
    main()
