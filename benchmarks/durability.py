"""A gateway is killed by SIGKILL under load, again and again: no request that it acknowledged is lost or doubled.

    python -m benchmarks.durability                            # 200 kills, 200,000 acknowledged requests
    python -m benchmarks.durability --acknowledge-early        # the planted bug, which this must find
    python -m benchmarks.durability --database postgresql://...

The clients, which live on, keep every byte that they were answered. Afterwards each answer must have one row in the
ledger that holds those bytes.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import uvloop

from benchmarks.acknowledged_load import Comparison, Load, compare
from benchmarks.crashing_gateway import Processes, wait_for
from driftwheel.ledger import Ledger


def upper_bound(tried: int, confidence: float = 0.95) -> float:
    """Return the largest share that 0 of `tried` does not refute (C. J. Clopper, E. S. Pearson, 1934)."""
    return 1 - (1 - confidence) ** (1 / tried)


async def kill_under_load(processes: Processes, load: Load, kills: int, acknowledged: int, seed: int) -> list[float]:
    """Kill the gateway at random moments under load; return the seconds from each kill to the next answer."""
    chance, gaps = random.Random(seed), list[float]()
    running = asyncio.create_task(load.run())
    per_kill = acknowledged / (kills + 1)
    for number in range(1, kills + 1):
        await load.wait_for(max(round(number * per_kill), len(load.acknowledged) + 1))
        await asyncio.sleep(chance.random() * 0.05)
        killed_at = time.monotonic()
        await asyncio.to_thread(processes.kill_and_restart)
        while load.last_at < killed_at or not load.acknowledged:
            await asyncio.sleep(0.005)
        gaps.append(load.last_at - killed_at)
    await load.wait_for(acknowledged)
    load.stop()
    await running
    return gaps


def measure(
    url: str, *, kills: int, acknowledged: int, clients: int, seed: int, is_early: bool
) -> tuple[Comparison, list[float]]:
    """Kill a gateway on a ledger and compare what is left with what was acknowledged."""
    processes = Processes(url, is_early=is_early)
    try:
        wait_for(processes.port)
        load = Load(processes.port, clients)
        gaps = uvloop.run(kill_under_load(processes, load, kills, acknowledged, seed))
    finally:
        processes.stop()
    return compare(Ledger(url), load.acknowledged), gaps


def main() -> None:
    """Print what was lost."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--acknowledged", type=int, default=200_000, help="requests acknowledged in all, at least")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--database", metavar="URL", help="an empty one; SQLite in a temporary folder by default")
    parser.add_argument("--acknowledge-early", action="store_true", help="plant the bug")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    started_at = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found, gaps = measure(
            options.database or f"sqlite:///{Path(folder) / 'ledger.db'}", kills=options.kills,
            acknowledged=options.acknowledged, clients=options.clients, seed=options.seed,
            is_early=options.acknowledge_early,
        )  # fmt: skip
    if options.json:
        print(json.dumps(asdict(found)))
        return
    print(f"{options.kills} kills, {found.acknowledged} acknowledged requests, {found.streamed} of them streamed,")
    print(f"{found.rows} rows, {time.monotonic() - started_at:.0f} s, seed {options.seed}, {options.clients} clients")
    for name in ("lost", "doubled", "different"):
        count = getattr(found, name)
        bound = f" (95 % upper bound {upper_bound(found.acknowledged):.2g})" if count == 0 else ""
        print(f"{name:>10}: {count} of {found.acknowledged}{bound}")
    print(f"from kill to next answer: median {statistics.median(gaps):.2f} s, longest {max(gaps):.2f} s")
    sys.exit(bool(found.lost or found.doubled or found.different))


if __name__ == "__main__":
    main()
