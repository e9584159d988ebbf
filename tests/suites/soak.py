"""The gateway answers for half an hour: does it keep memory, files or threads, lose a row, or suspect a sound engine?

    python -m tests.suites.soak [--minutes 30] [--per-second 50]
    python -m tests.suites.soak --minutes 2 --per-second 200 --leak memory  # planted: memory, files, threads

The real gateway process, with its durable log, two keys with limits, its metrics read every few seconds, and a health
loop that asks the engine for tokens, answers plain and streamed requests on connections that come and go. What it
takes is read from the kernel in even steps. The first third is warming up; of the rest the slope of memory is Theil
and Sen's (P. K. Sen, JASA 63, 1968) over means of equal spans, with its 95 % interval.
"""

import argparse
import asyncio
import itertools
import json
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil
import uvloop
from scipy.stats import theilslopes

from driftwheel.callers.api_keys import create_key
from driftwheel.control import controls
from driftwheel.records.bookkeeping import Scope
from driftwheel.settings.serving import ServeSettings
from tests.suites.durability import upper_bound
from tests.support.acknowledged_load import Comparison, Load, compare
from tests.support.fake_gateway import LEAKS
from tests.support.fake_world import World

LOADS, CLIENTS, PER_CONNECTION = 2, 4, 200
SPANS, SAMPLES_PER_SPAN = 60, 6
MIB = 1 << 20
MOST_MIB_AN_HOUR = 5.0
MOST_GROWTH = 8
"""Open files and threads may rise by so many over the most of the first third: clients reconnect."""
ALARMS = ("gets no requests", "engine hangs", "engine died")


@dataclass(frozen=True)
class Sample:
    """What the gateway process held at a moment."""

    at: float
    resident_mib: float
    files: int
    threads: int


@dataclass(frozen=True)
class Growth:
    """What the process took on after the first third."""

    mib_an_hour: float
    low: float
    high: float
    files: tuple[int, int]
    """Most of the first third, and of the rest."""
    threads: tuple[int, int]

    @property
    def is_flat(self) -> bool:
        """Whether it took on nothing."""
        few = all(late <= early + MOST_GROWTH for early, late in (self.files, self.threads))
        return few and self.mib_an_hour <= MOST_MIB_AN_HOUR


def sample(process: psutil.Process, began_at: float) -> Sample:
    """Read what a process holds now."""
    with process.oneshot():
        resident = process.memory_info().rss / MIB
        return Sample(time.monotonic() - began_at, resident, process.num_fds(), process.num_threads())


def growth_of(samples: Sequence[Sample]) -> Growth:
    """Compare the first third with the rest."""
    cut = len(samples) // 3
    early, late = samples[:cut], samples[cut:]
    spans = np.array_split(np.array([(s.at / 3600, s.resident_mib) for s in late]), SPANS * 2 // 3)
    hours, mib = np.array([span.mean(axis=0) for span in spans]).T
    slope, _, low, high = theilslopes(mib, hours, 0.95)
    files = max(s.files for s in early), max(s.files for s in late)
    return Growth(slope, low, high, files, (max(s.threads for s in early), max(s.threads for s in late)))


async def watch(world: World, loads: Sequence[Load], seconds: float) -> list[Sample]:
    """Ask for so long, read the metrics as Prometheus does, and take samples."""
    assert world.process is not None
    process, began_at = psutil.Process(world.process.pid), time.monotonic()
    asking = [asyncio.create_task(load.run()) for load in loads]
    samples, step_seconds = [], seconds / SPANS / SAMPLES_PER_SPAN
    for number in itertools.count(1):
        await asyncio.sleep(max(0.0, began_at + number * step_seconds - time.monotonic()))
        samples.append(sample(process, began_at))
        await asyncio.to_thread(lambda: urllib.request.urlopen(f"{world.url}/metrics", timeout=60).read())
        if number == SPANS * SAMPLES_PER_SPAN:
            break
        if number % (10 * SAMPLES_PER_SPAN) == 0:
            print(f"{samples[-1].at / 60:.1f} min: {asdict(samples[-1])}", file=sys.stderr, flush=True)
    for load in loads:
        load.stop()
    await asyncio.gather(*asking)
    return samples


def soak(folder: Path, minutes: float, per_second: float, leak: str) -> tuple[Growth, Comparison, Counter[int], int]:
    """Run the soak; return growth, what the ledger holds of what was answered, the statuses, and the false alarms."""
    world = World(folder, {"health_interval_seconds": ServeSettings().health_interval_seconds})
    try:
        keys = [
            create_key(world.ledger, "support", f"app-{number}", [Scope.ASK], requests_per_minute=10**6)[1]
            for number in range(LOADS)
        ]
        world.publish("v1", answer=None)
        controls.promote(world.ledger, world.settings.alias_key, "v1")
        world.start(plant=leak)
        world.until(world.is_settled)
        loads = [
            Load(
                world.settings.serve.port,
                CLIENTS,
                key=key,
                per_second=per_second / LOADS,
                per_connection=PER_CONNECTION,
                first=number * 10**9,
            )
            for number, key in enumerate(keys)
        ]
        samples = uvloop.run(watch(world, loads, minutes * 60))
        acknowledged = {id: known for load in loads for id, known in load.acknowledged.items()}
        statuses = sum((load.statuses for load in loads), Counter[int]())
        statuses[0] += sum(load.broken for load in loads)
        alarms = sum(any(words in line for words in ALARMS) for line in world.log_path.read_text().splitlines())
        return growth_of(samples), compare(world.ledger, acknowledged), +statuses, alarms
    finally:
        world.stop()


def main() -> None:
    """Soak and print; exits 1 if something was lost, suspected without reason, or grew."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--per-second", type=float, default=50)
    parser.add_argument("--leak", choices=LEAKS, default="", help="plant a bug")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        growth, found, statuses, alarms = soak(Path(folder), options.minutes, options.per_second, options.leak)
    wrong = found.lost + found.doubled + found.different + alarms
    if options.json:
        print(json.dumps({**asdict(growth), **asdict(found), "is_flat": growth.is_flat, "alarms": alarms}))
        return
    print(
        f"{options.minutes:g} minutes at {options.per_second:g} requests a second, {LOADS} keys; answers by status: "
        f"{dict(statuses)}"
    )
    print(
        f"memory: {growth.mib_an_hour:+.2f} MiB an hour after the first third, 95 % interval "
        f"[{growth.low:+.2f}, {growth.high:+.2f}] (bar {MOST_MIB_AN_HOUR:g})"
    )
    print(
        f"most open files: {growth.files[0]} in the first third, {growth.files[1]} later; "
        f"threads: {growth.threads[0]}, {growth.threads[1]}"
    )
    bound = f" (95 % upper bound {upper_bound(found.acknowledged):.2g})" if not wrong else ""
    print(
        f"lost {found.lost}, doubled {found.doubled}, different {found.different} of {found.acknowledged} "
        f"acknowledged, {found.streamed} of them streamed{bound}"
    )
    print(f"false alarms of the health check: {alarms}")
    sys.exit(bool(wrong or not growth.is_flat))


if __name__ == "__main__":
    main()
