"""Faults are planted in one of two replicas under load: how soon is it out, and does any client notice?

    python -m tests.suites.engine_faults [--faults 50]

Five kinds: killed, stopped (SIGSTOP), hanging (takes requests and answers nothing), NaN (tokens without a number for
their probability), failing (every answer is 500). The default interval of the health loop is used.
"""

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from driftwheel.control import controls
from driftwheel.settings.serving import ServeSettings
from tests.support.fake_world import Answer, World

KINDS = ("killed", "stopped", "hang", "nan", "error")
LIMIT_SECONDS = 15.0
GIVE_UP_SECONDS = 2 * LIMIT_SECONDS + 30
FOUND = ("engine died", "gets no requests")


def serving(folder: Path, **serve: Any) -> World:
    """Return a world whose version has two replicas, both of which serve."""
    world = World(folder, {"replicas": 2, "request_timeout_seconds": 60, **serve})
    world.publish("v1", fault_path=str(folder / "fault_{port}"))
    controls.promote(world.ledger, world.settings.alias_key, "v1")
    world.start()
    world.until(world.is_settled)
    world.until(lambda: len(world.engine_ids("v1")) == 2)
    return world


def plant(world: World, kind: str) -> int:
    """Plant a fault in the oldest replica and return its process id."""
    if kind in ("killed", "stopped"):
        return world.signal_engine("v1", signal.SIGKILL if kind == "killed" else signal.SIGSTOP)
    process_id = world.engine_ids("v1")[0]
    port = Path(f"/proc/{process_id}/cmdline").read_bytes().split(b"\0")[-3].decode()  # before its address
    (world.folder / f"fault_{port}").write_text(kind)
    return process_id


def find(world: World, kind: str, per_second: float) -> tuple[float, float, list[Answer]]:
    """Plant one fault under load; return the seconds until it was found, until both replicas serve, and the answers."""
    before = len(world.log_path.read_text())
    process_id, planted_at = plant(world, kind), time.monotonic()
    found: list[float] = []

    def is_over() -> bool:
        text = world.log_path.read_text()[before:]
        if not found and any(words in text for words in FOUND):
            found.append(time.monotonic() - planted_at)
        ids = world.engine_ids("v1") if found else []
        # A busy machine may have lost the other one, too.
        is_restored = len(ids) == 2 and process_id not in ids and "engine ready" in text
        return is_restored or time.monotonic() - planted_at > GIVE_UP_SECONDS

    answers = asyncio.run(world.load(per_second, 120, is_over))
    return (found or [float("inf")])[0], time.monotonic() - planted_at, answers


def main(argv: Sequence[str] | None = None) -> None:
    """Plant and print; exits 1 if a fault was found late or not at all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=50)
    parser.add_argument("--json", action="store_true", help="end with a line of JSON")
    arguments = parser.parse_args(argv)
    late, statuses, longest = 0, Counter[int](), Counter[str]()
    interval = ServeSettings().health_interval_seconds
    for number in range(arguments.faults):
        kind = KINDS[number % len(KINDS)]
        with tempfile.TemporaryDirectory() as folder:
            world = serving(Path(folder), health_interval_seconds=interval)
            try:
                time.sleep(number % 7 * interval / 7)  # somewhere between two checks
                found, restored, answers = find(world, kind, 5)
            finally:
                world.stop()
        late += found > LIMIT_SECONDS
        statuses.update(answer.status for answer in answers)
        longest[kind] = max(longest[kind], round(found * 1000))
        slowest = max(answer.seconds for answer in answers)
        print(
            f"{kind}: found after {found:.1f} s, two replicas again after {restored:.1f} s, "
            f"slowest answer {slowest:.1f} s",
            flush=True,
        )
    high = binomtest(late, arguments.faults).proportion_ci(0.9).high
    print(
        f"{arguments.faults - late} of {arguments.faults} found within {LIMIT_SECONDS:.0f} s "
        f"(95 % upper bound of those that are not: {high:.1%})"
    )
    print("longest:", ", ".join(f"{kind} {ms / 1000:.1f} s" for kind, ms in longest.items()))
    print("statuses that clients got:", dict(statuses))
    if arguments.json:
        print(json.dumps({"tried": arguments.faults, "failed": late}))
    if late:
        sys.exit(1)


if __name__ == "__main__":
    main()
