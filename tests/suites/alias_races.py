"""Suite: many processes promote and roll back at once while a gateway follows; there is one live version at most.

    python -m tests.suites.alias_races [--attempts 5000] [--processes 8]

The oracle is a reader of its own, which asks the database file by raw SQL as fast as it can, and the journals of the
processes: fencing numbers never go back, each names one version, and each successful move took exactly one of them.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from driftwheel.control import controls
from driftwheel.errors import ConflictError, NotFoundError
from driftwheel.records.nouns import Alias
from driftwheel.settings.load import load_settings
from driftwheel.store.ledger import Ledger
from driftwheel.store.sqlite import safe_sqlite_module
from tests.support.fake_world import ALIAS, World

VERSIONS = ("v1", "v2")
LOOK_SECONDS = 0.0005


@dataclass
class Reader:
    """What an independent connection saw; `faults` says what must never be."""

    path: str
    looks: int = 0
    fences: dict[int, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Look until stopped."""
        connection = safe_sqlite_module().connect(self.path, isolation_level=None, timeout=30)
        last = observed = 0
        while not self._stop.is_set():
            connection.execute("BEGIN")
            ((version, fence, seen),) = connection.execute(
                "SELECT version_id, fence, observed_fence FROM alias WHERE name = ?", (ALIAS,)
            ).fetchall()
            live = connection.execute("SELECT version_id FROM deployment WHERE stage = 'live'").fetchall()
            connection.execute("COMMIT")
            self.looks += 1
            if len(live) != 1:
                self.faults.append(f"{len(live)} live versions at fence {fence}")
            if fence < last or seen < observed or seen > fence:
                self.faults.append(f"fence went from {last}/{observed} to {fence}/{seen}")
            if self.fences.setdefault(fence, version) != version:
                self.faults.append(f"fence {fence} meant {self.fences[fence]} and then {version}")
            last, observed = fence, seen
            time.sleep(LOOK_SECONDS)
        connection.close()

    def stop(self) -> None:
        """End the looking."""
        self._stop.set()


def race(config: str, seed: int, attempts: int) -> None:
    """Promote and roll back at random; print one JSON line with what was won and how often the race was lost."""
    settings, rng = load_settings(config, environ={}), random.Random(seed)
    ledger, won, lost, idle = Ledger(settings.database_url), [], 0, 0
    for _ in range(attempts):
        before = ledger.find(Alias, name=ALIAS)[0]
        try:
            if rng.random() < 0.3:
                moved = controls.rollback(ledger, settings.alias_key)
            else:
                shares: list[float] | None = [] if rng.random() < 0.5 else None
                wish = rng.choice(VERSIONS)
                moved = controls.promote(ledger, settings.alias_key, wish, fence=before.fence, canary_shares=shares)
            if moved.fence > before.fence and moved.observed_error is None:
                won.append((moved.fence, moved.version_id))
            else:
                idle += 1
        except ConflictError:
            lost += 1
        except NotFoundError:  # nobody has moved it yet, so there is nothing to go back to
            idle += 1
    ledger.close()
    print(json.dumps({"won": won, "lost": lost, "idle": idle}))


def run(world: World, attempts: int, processes: int, seed: int) -> tuple[Reader, list[str], str]:
    """Race; return what the reader saw, every fault, and a line with the counts."""
    for id in VERSIONS:
        world.publish(id)
    controls.promote(world.ledger, world.settings.alias_key, VERSIONS[0])
    world.start()
    world.until(world.is_settled)
    start = world.alias().fence
    reader = Reader(str(world.settings.root / "ledger.db"))
    thread = threading.Thread(target=reader.run)
    thread.start()
    shares = [attempts // processes + (number < attempts % processes) for number in range(processes)]
    argv = [sys.executable, "-m", "tests.suites.alias_races", "--config", str(world.config_path)]
    children = [
        subprocess.Popen([*argv, "--seed", str(seed + n), "--attempts", str(share)], stdout=subprocess.PIPE, text=True)
        for n, share in enumerate(shares)
    ]
    journals = [json.loads(child.communicate()[0]) for child in children]
    settled = world.until(world.is_settled, 60)
    reader.stop()
    thread.join()
    won = [tuple(move) for journal in journals for move in journal["won"]]
    faults = [*reader.faults]
    if len({fence for fence, _ in won}) != len(won):
        faults.append("two moves took the same fencing number")
    if sorted(fence for fence, _ in won) != list(range(start + 1, world.alias().fence + 1)):
        faults.append(f"{len(won)} moves from fence {start} ended at {world.alias().fence}")
    faults += [f"fence {f} was won for {v}, read as {reader.fences[f]}" for f, v in won if reader.fences.get(f, v) != v]
    lost, idle = sum(j["lost"] for j in journals), sum(j["idle"] for j in journals)
    line = (
        f"{sum(shares)} attempts by {processes} processes: {len(won)} moved the alias, {lost} lost the race, {idle} "
        f"had nothing to move; {reader.looks} looks; settled {settled:.1f} s after the last move"
    )
    return reader, faults, line


def main(argv: Sequence[str] | None = None) -> None:
    """Race and print; exits 1 if the oracle found a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attempts", type=int, default=5000)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="end with a line of JSON")
    parser.add_argument("--config", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.config:
        race(arguments.config, arguments.seed, arguments.attempts)
        return
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        try:
            _, faults, line = run(world, arguments.attempts, arguments.processes, arguments.seed)
        finally:
            world.stop()
    print(f"seed {arguments.seed}: {line}")
    print(f"{len(faults)} faults", *faults[:20], sep="\n  ")
    if arguments.json:
        print(json.dumps({"seed": arguments.seed, "tried": arguments.attempts, "failed": len(faults)}))
    if faults:
        sys.exit(1)


if __name__ == "__main__":
    main()
