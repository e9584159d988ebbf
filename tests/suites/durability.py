"""A gateway, or its PostgreSQL, is killed under load, again and again: no acknowledged request is lost or doubled.

    python -m tests.suites.durability                            # 200 kills, 200,000 acknowledged requests
    python -m tests.suites.durability --acknowledge-early        # the planted bug, which this must find
    python -m tests.suites.durability --database postgresql      # the same on a PostgreSQL of its own
    python -m tests.suites.durability --database postgresql --crash server --kills 20 --acknowledged 20000

The clients, which live on, keep every byte that they were answered. Afterwards each answer must have one row in the
ledger that holds those bytes.
"""

import argparse
import asyncio
import json
import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

import uvloop

from driftwheel.store.ledger import Ledger
from tests.support.acknowledged_load import Comparison, Load, compare
from tests.support.crashing_gateway import Processes, wait_for
from tests.support.postgres_server import PostgresServer, find_programs


def upper_bound(tried: int, confidence: float = 0.95) -> float:
    """Return the largest share that 0 of `tried` does not refute (C. J. Clopper, E. S. Pearson, 1934)."""
    return 1 - math.pow(1 - confidence, 1 / tried)


async def crash_under_load(
    crash: Callable[[], None], load: Load, crashes: int, acknowledged: int, seed: int
) -> list[float]:
    """Crash at random moments while clients ask; return the seconds from each restart to the next answer."""
    chance, gaps = random.Random(seed), list[float]()
    running = asyncio.create_task(load.run())
    per_crash = acknowledged / (crashes + 1)
    for number in range(1, crashes + 1):
        await load.wait_for(max(round(number * per_crash), len(load.acknowledged) + 1))
        await asyncio.sleep(chance.random() * 0.05)
        await asyncio.to_thread(crash)
        restarted_at = time.monotonic()
        while load.last_at < restarted_at:
            await asyncio.sleep(0.005)
        gaps.append(load.last_at - restarted_at)
    await load.wait_for(acknowledged)
    load.stop()
    await running
    return gaps


@contextmanager
def database(kind: str) -> Iterator[tuple[str, Callable[[], None] | None]]:
    """Give an empty database's URL, and what crashes and restarts its server if it has one."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{Path(folder) / 'ledger.db'}", None
        return
    programs = find_programs()
    if programs is None:
        raise SystemExit("PostgreSQL is not installed (Debian's package postgresql)")
    server = PostgresServer(programs)
    try:
        yield server.new_database(), server.crash_and_restart
    finally:
        server.remove()


def measure(options: argparse.Namespace) -> tuple[Comparison, list[float]]:
    """Crash a gateway, or its server, and compare what is left with what was acknowledged."""
    with database(options.database) as (url, crash_server):
        processes = Processes(url, is_early=options.acknowledge_early)
        crash = crash_server if options.crash == "server" and crash_server else processes.kill_and_restart
        try:
            wait_for(processes.port)
            load = Load(processes.port, options.clients)
            gaps = uvloop.run(crash_under_load(crash, load, options.kills, options.acknowledged, options.seed))
        finally:
            processes.stop()
        with closing(Ledger(url)) as ledger:
            return compare(ledger, load.acknowledged), gaps


def main() -> None:
    """Print what was lost."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--acknowledged", type=int, default=200_000, help="requests acknowledged in all, at least")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--crash", choices=["gateway", "server"], default="gateway", help="what is killed")
    parser.add_argument("--acknowledge-early", action="store_true", help="plant the bug")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    started_at = time.monotonic()
    found, gaps = measure(options)
    if options.json:
        wrong = found.lost + found.doubled + found.different
        counts = {"seed": options.seed, "tried": found.acknowledged, "failed": wrong}
        print(json.dumps({**asdict(found), **counts, "longest": max(gaps)}))
        return
    print(f"{options.database}: {options.kills} kills of the {options.crash}, seed {options.seed}")
    print(f"{found.acknowledged} acknowledged requests, {found.streamed} of them streamed, {options.clients} clients")
    print(f"{found.rows} rows, {time.monotonic() - started_at:.0f} s")
    for name in ("lost", "doubled", "different"):
        count = getattr(found, name)
        bound = f" (95 % upper bound {upper_bound(found.acknowledged):.2g})" if count == 0 else ""
        print(f"{name:>10}: {count} of {found.acknowledged}{bound}")
    print(f"from restart to next answer: median {statistics.median(gaps):.2f} s, longest {max(gaps):.2f} s")
    sys.exit(bool(found.lost or found.doubled or found.different))


if __name__ == "__main__":
    main()
