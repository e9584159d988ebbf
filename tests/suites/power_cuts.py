"""A power cut at any moment, with what was not synced dropped or torn, loses no acknowledged row.

    python -m tests.suites.power_cuts                            # 2,000 cuts
    python -m tests.suites.power_cuts --synchronous-normal       # the planted bug, which this must find

The product's Ledger and TrafficLog write on a recorded disk while other connections read and give feedback; each
cut takes the disk as it may be at a random event of that record, opens it with the product's own SQLite, and looks
for every row and every feedback that was acknowledged before the cut. Not covered: a disk that lies about a sync,
and a file system that loses a synced file's name.
"""

import argparse
import bisect
import json
import queue
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from driftwheel.records.nouns import Alias, Traffic
from driftwheel.store.alias import move_alias
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.log import TrafficLog
from tests.suites.durability import upper_bound
from tests.support.recorded_disk import Disk, Event, RecordedSqlite, after_power_cut
from tests.support.versions import add_versions

CUTS_PER_RECORD = 50
ROWS = 300
BURST_ROWS = 8
ROW = Traffic(
    id="",
    project="p",
    alias="a",
    version_id="v",
    route="/v1/chat/completions",
    status_code=200,
    prompt="where is it",
    answer="",
    latency_seconds=0.1,
)


def row(number: int) -> Traffic:
    """Return a row of one to 24 kilobytes, which its number determines."""
    chance = random.Random(number)
    text = f"{number} " + chance.randbytes(chance.choice([500, 4000, 12_000])).hex()
    return replace(ROW, id=f"req_{number}", answer=f"answer {number}", response=text)


def record(folder: Path, seed: int, *, is_normal: bool) -> Sequence[Event]:
    """Write rows in bursts, move the alias and read on a second thread, and return all that happened to the files."""
    disk, chance = Disk(), random.Random(seed)
    ledger = Ledger(f"sqlite:///{folder / 'ledger.db'}", sqlite_module=RecordedSqlite(disk, is_normal=is_normal))
    log, stop = TrafficLog(ledger), threading.Event()

    def move_on() -> None:
        fence = 0
        while not stop.is_set():
            version_id = f"version_{fence + 1}"
            add_versions(ledger, version_id)
            fence = move_alias(ledger, "p", "a", version_id).fence
            disk.acknowledge(f"fence {fence}")
            ledger.find(Traffic, limit=5)
            stop.wait(0.02)

    mover = threading.Thread(target=move_on)
    mover.start()
    written: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
    number = 0
    while number < ROWS:
        burst = chance.randint(1, BURST_ROWS)
        for _ in range(burst):

            def acknowledge(error: Exception | None, id: str = f"req_{number}") -> None:
                if error is None:
                    disk.acknowledge(id)
                written.put(error)

            log.append(row(number), acknowledge)
            number += 1
        for _ in range(burst):
            if (error := written.get(timeout=60)) is not None:
                raise error
    stop.set()
    mover.join()
    events = list(disk.events)
    log.close()
    ledger.close()
    return events


def examine(folder: Path, files: dict[str, bytes], acknowledged: Sequence[str]) -> Counter[str]:
    """Open the files that a power cut left, and count what is wrong."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    ledger, wrong = Ledger(f"sqlite:///{folder / 'ledger.db'}"), Counter[str]()
    try:
        with ledger.read() as connection:
            wrong["corrupt"] += connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() != "ok"
        rows = {r.id: r for r in ledger.find(Traffic)}
        alias = ledger.find(Alias)
    finally:
        ledger.close()
    fences = [int(name.removeprefix("fence ")) for name in acknowledged if name.startswith("fence ")]
    wrong["lost"] += sum(name not in rows for name in acknowledged if name.startswith("req_"))
    wrong["lost"] += bool(fences) and (not alias or alias[0].fence < max(fences))
    wrong["half written"] += sum(
        (r.answer, r.response) != (row(n).answer, row(n).response) for r in rows.values() for n in [int(r.id[4:])]
    )
    return wrong


def cut(seed: int, cuts: int, *, is_normal: bool) -> tuple[Counter[str], int, Counter[str]]:
    """Record once and cut often; return what was wrong, the cuts that lost a row, and what was going on at the cuts."""
    wrong, losing, moments = Counter[str](), 0, Counter[str]()
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        (Path(folder) / "recorded").mkdir()
        events = record(Path(folder) / "recorded", seed, is_normal=is_normal)
        known_at = [n for n, event in enumerate(events) if event.kind == "acknowledge"]
        # Before the first acknowledgement there is nothing to lose, and perhaps no table.
        in_database = [n for n in range(known_at[0] + 1, len(events)) if events[n].name == "ledger.db"]
        for number in range(cuts):
            # Half of the cuts are in the seldom moments at which the log is copied into the database.
            is_seldom = in_database and number % 2
            at = chance.choice(in_database) if is_seldom else chance.randrange(known_at[0] + 1, len(events))
            moments[f"{events[at].kind} {events[at].name if events[at].kind != 'acknowledge' else ''}"] += 1
            names = [events[n].name for n in known_at[: bisect.bisect_left(known_at, at)]]
            place = Path(folder) / str(number)
            place.mkdir()
            found = examine(place, after_power_cut(events[:at], chance), names)
            wrong += found
            wrong["acknowledged"] += len(names)
            losing += found["lost"] > 0
    return wrong, losing, moments


def main() -> None:
    """Print what power cuts lost."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cuts", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--synchronous-normal", action="store_true", help="plant the bug")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    started_at, wrong, losing, moments = time.monotonic(), Counter[str](), 0, Counter[str]()
    for number in range(-(-options.cuts // CUTS_PER_RECORD)):
        cuts = min(CUTS_PER_RECORD, options.cuts - number * CUTS_PER_RECORD)
        found, lost, when = cut(options.seed + number, cuts, is_normal=options.synchronous_normal)
        wrong, losing, moments = wrong + found, losing + lost, moments + when
    counts = {name: wrong[name] for name in ("lost", "half written", "corrupt", "acknowledged")}
    if options.json:
        failed = losing + counts["half written"] + counts["corrupt"]
        print(json.dumps({**counts, "losing": losing, "seed": options.seed, "tried": options.cuts, "failed": failed}))
        return
    print(f"{options.cuts} power cuts, seed {options.seed}, {time.monotonic() - started_at:.0f} s, at:")
    print(", ".join(f"{count} {moment}" for moment, count in moments.most_common()))
    bound = f" (95 % upper bound {upper_bound(options.cuts):.2g} of the cuts)" if losing == 0 else ""
    print(f"lost: {counts['lost']} of {counts['acknowledged']} acknowledged rows and moves, in {losing} cuts{bound}")
    print(f"half written rows: {counts['half written']}; databases that fail the integrity check: {counts['corrupt']}")
    sys.exit(bool(losing or counts["half written"] or counts["corrupt"]))


if __name__ == "__main__":
    main()
