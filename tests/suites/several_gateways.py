"""Two gateways on one PostgreSQL answer through flips, canaries and crashes: one live version, and every row is there.

    python -m tests.suites.several_gateways [--flips 20] [--crashes 8] [--engines elsewhere|own|only]
    python -m tests.suites.several_gateways --plant conductors      # the planted bugs: conductors, early

Both are real gateway processes. The fake engines are elsewhere, the same for both; or each gateway starts its own; or
each has only one, which gets the weights of one version after the other. Then one gateway after another is killed, or
stopped for a while, and the survivor goes on alone until it is back; and the database is killed. The oracles are the
clients, a reader that asks the database by raw SQL, and the answers' own text, which tells the version that gave it.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import psycopg
import uvloop

from driftwheel.callers.api_keys import create_key, disable_key
from driftwheel.control import controls
from driftwheel.machine.system import free_port
from driftwheel.records.bookkeeping import Scope
from driftwheel.records.nouns import Deployment
from tests.suites.durability import upper_bound
from tests.support.acknowledged_load import Comparison, Load, compare
from tests.support.fake_gateway import FAKE
from tests.support.fake_world import KEY, World
from tests.support.postgres_server import PostgresServer, find_programs

VERSIONS = ("v1", "v2")
BROKEN = "v3"
CRASHES = ("kill the conductor", "stop the conductor", "restart PostgreSQL", "kill the follower")
CLIENTS, PER_SECOND = 4, 40
Engines = Literal["elsewhere", "own", "only"]
LOOK_SECONDS = 0.002
PATIENCE_SECONDS = 60.0


@dataclass
class Reader:
    """What an independent connection saw of the rows of live versions."""

    url: str
    looks: int = 0
    faults: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Look until stopped."""
        while not self._stop.is_set():
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.url) as connection:
                self._look_at(connection)

    def _look_at(self, connection: psycopg.Connection[tuple[str]]) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            with connection.transaction():
                rows = connection.execute("SELECT version_id FROM deployment WHERE stage = 'live'").fetchall()
            self.looks += 1
            if len(rows) != 1:
                self.faults.append(f"{len(rows)} live rows: {rows}")

    def stop(self) -> None:
        """End the looking."""
        self._stop.set()


@dataclass
class Found:
    """What the run measured; times in seconds from the command until both gateways did as they were told."""

    flips: list[float] = field(default_factory=list)
    keys_known: list[float] = field(default_factory=list)
    keys_disabled: list[float] = field(default_factory=list)
    canary_out: list[float] = field(default_factory=list)
    alone: dict[str, float] = field(default_factory=dict)
    """What was done, and how long it took at most until the gateways that were left had carried out the next flip."""
    failed: int = 0
    """Requests that failed on a gateway that was not killed or stopped just then."""
    faults: list[str] = field(default_factory=list)
    looks: int = 0
    statuses: Counter[int] = field(default_factory=Counter)


class Pair:
    """Two gateways, their engines, and what is asked of them."""

    def __init__(self, folder: Path, server: PostgresServer, plant: str, engines: Engines) -> None:
        self._plant, self.server, self.url, self.engines = plant, server, server.new_database(), engines
        ports = {version: free_port() for version in (*VERSIONS, BROKEN)} if engines == "elsewhere" else {}
        serve: dict[str, Any] = {
            "canary_min_requests": 30,
            "engines": [f"http://127.0.0.1:{p}" for p in ports.values()],
        }
        if engines == "only":
            serve["swap"] = "in_place"
        self.worlds = [World(folder / name, dict(serve), self.url) for name in ("a", "b")]
        for version in VERSIONS:
            self.worlds[0].publish(version, answer=None)
        self.worlds[0].publish(BROKEN, answer=None, fails_share=1.0)
        self._engines = [
            subprocess.Popen([sys.executable, "-S", FAKE, folder / "a" / "artifacts" / version, version, str(port)])
            for version, port in ports.items()
        ]
        self.loads = [
            Load(world.settings.serve.port, CLIENTS, key=KEY, per_second=PER_SECOND, first=number * 10**9)
            for number, world in enumerate(self.worlds)
        ]

    def start(self, world: World) -> None:
        """Start a gateway, or start it again, and wait until it serves."""
        world.start(plant=self._plant)
        world.until(lambda: self.serves(world, self.version()))

    def stop(self) -> None:
        """End everything."""
        for world in self.worlds:
            world.stop()
        for engine in self._engines:
            engine.kill()
            engine.wait()

    def version(self) -> str:
        """Return the desired version."""
        return self.worlds[0].alias().version_id

    def serves(self, world: World, version_id: str, key: str = KEY) -> bool:
        """Ask a gateway which models it has, and say whether its answer is of a version; without one, whether 200."""
        request = urllib.request.Request(f"{world.url}/v1/models", headers={"authorization": f"Bearer {key}"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return not version_id or answer.headers["x-driftwheel-version"] == version_id
        except (urllib.error.HTTPError, urllib.error.URLError, ConnectionError):
            return False

    def conductor(self) -> World:
        """Return the gateway that the alias row names."""
        place = str(self.worlds[0].alias().leader)
        return next(world for world in self.worlds if f":{world.settings.serve.port}/" in place)

    def flip(self, worlds: list[World]) -> float:
        """Promote the other version and return the seconds until every given gateway serves it and the row says so."""
        began_at, wanted = time.monotonic(), VERSIONS[self.version() == VERSIONS[0]]
        controls.promote(worlds[0].ledger, worlds[0].settings.alias_key, wanted, canary_shares=[])
        waiting = [*worlds]
        while waiting:
            waiting = [world for world in waiting if not self.serves(world, wanted)]
        worlds[0].until(lambda: worlds[0].alias().observed_version_id == wanted)
        return time.monotonic() - began_at


def wait_for(holds: Callable[[], bool]) -> float:
    """Wait until something holds and return how long that took; raises TimeoutError."""
    began_at = time.monotonic()
    while not holds():
        if time.monotonic() - began_at > PATIENCE_SECONDS:
            raise TimeoutError("the gateways did not do as they were told")
        time.sleep(0.01)
    return time.monotonic() - began_at


def change_keys(pair: Pair, number: int, found: Found) -> None:
    """Make a key and disable it; measure until both gateways know."""
    _, key = create_key(pair.worlds[0].ledger, "support", f"key-{number}", [Scope.ASK])
    found.keys_known.append(wait_for(lambda: all(pair.serves(world, "", key) for world in pair.worlds)))
    disable_key(pair.worlds[0].ledger, "support", f"key-{number}")
    found.keys_disabled.append(wait_for(lambda: not any(pair.serves(world, "", key) for world in pair.worlds)))


def try_broken(pair: Pair, found: Found) -> None:
    """Promote a version that fails every request through a canary, and wait until it is out, on both gateways."""
    world, began_at, live = pair.worlds[0], time.monotonic(), pair.version()
    moved = controls.promote(world.ledger, world.settings.alias_key, BROKEN, canary_shares=[0.2])
    world.until(lambda: world.alias().observed_fence == moved.fence)
    found.canary_out.append(time.monotonic() - began_at)
    if "canary rolled back" not in str(world.alias().observed_error):
        found.faults.append(f"the broken canary ended as {world.alias()}")
    controls.promote(world.ledger, world.settings.alias_key, live, canary_shares=[])
    world.until(world.is_settled)


def crash(pair: Pair, kind: str, found: Found) -> None:
    """Kill or stop one gateway, have the other one carry out a flip alone, and let the first come back."""
    if kind == "restart PostgreSQL":  # nothing can be logged meanwhile, so that answers are refused
        began_at = time.monotonic()
        pair.server.crash_and_restart()
        pair.flip(pair.worlds)
        found.alone[kind] = max(found.alone.get(kind, 0.0), time.monotonic() - began_at)
        return
    conductor = pair.conductor()
    follower = next(world for world in pair.worlds if world is not conductor)
    victim, survivor = (follower, conductor) if kind == "kill the follower" else (conductor, follower)
    load = pair.loads[pair.worlds.index(survivor)]
    failed = load.failed
    assert victim.process is not None
    victim.process.send_signal(signal.SIGSTOP if kind == "stop the conductor" else signal.SIGKILL)
    found.alone[kind] = max(found.alone.get(kind, 0.0), pair.flip([survivor]))
    if kind == "stop the conductor":
        victim.process.send_signal(signal.SIGCONT)
    else:
        victim.process.wait()
        pair.start(victim)
    found.flips.append(pair.flip(pair.worlds))
    found.failed += load.failed - failed


def drive(pair: Pair, reader: Reader, flips: int, crashes: int) -> Found:
    """Flip, change keys and kill, while the load goes on."""
    found = Found()
    if pair.engines != "only":  # which has no room for a canary
        try_broken(pair, found)
    for number in range(flips):
        found.flips.append(pair.flip(pair.worlds))
        change_keys(pair, number, found)
    found.failed = sum(load.failed for load in pair.loads)
    for number in range(crashes):
        crash(pair, CRASHES[number % len(CRASHES)], found)
    once = Counter(row.fence for row in pair.worlds[0].ledger.find(Deployment) if "alias row at" in row.reason)
    found.faults += [f"fence {fence} went live {times} times" for fence, times in once.items() if times > 1]
    found.faults += reader.faults[:20]
    found.looks = reader.looks
    return found


async def under_load(pair: Pair, work: Callable[[], Found]) -> Found:
    """Ask both gateways while a thread works."""
    asking = [asyncio.create_task(load.run()) for load in pair.loads]
    try:
        return await asyncio.to_thread(work)
    finally:
        for load in pair.loads:
            load.stop()
        await asyncio.gather(*asking)


def measure(
    folder: Path, server: PostgresServer, *, flips: int, crashes: int, plant: str = "", engines: Engines = "elsewhere"
) -> tuple[Found, Comparison]:
    """Run the whole; return what was measured, and what the ledger holds of what was answered."""
    pair = Pair(folder, server, plant, engines)
    reader = Reader(pair.url)
    thread = threading.Thread(target=reader.run)
    try:
        controls.promote(pair.worlds[0].ledger, pair.worlds[0].settings.alias_key, VERSIONS[0])
        for world in pair.worlds:
            pair.start(world)
        pair.worlds[0].until(pair.worlds[0].is_settled)
        thread.start()
        found = uvloop.run(under_load(pair, lambda: drive(pair, reader, flips, crashes)))
        for load in pair.loads:
            found.statuses.update(load.statuses)
        acknowledged = {id: known for load in pair.loads for id, known in load.acknowledged.items()}
        return found, compare(pair.worlds[0].ledger, acknowledged)
    finally:
        reader.stop()
        if thread.ident is not None:
            thread.join()
        pair.stop()


def main() -> None:
    """Run and print; exits 1 if an oracle found a fault."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--flips", type=int, default=20)
    parser.add_argument("--crashes", type=int, default=8)
    parser.add_argument("--plant", choices=["conductors", "early"], default="")
    parser.add_argument("--engines", choices=get_args(Engines), default="elsewhere", help="whose they are (elsewhere)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    programs = find_programs()
    if programs is None:
        raise SystemExit("PostgreSQL is not installed (Debian's package postgresql)")
    server = PostgresServer(programs)
    try:
        with tempfile.TemporaryDirectory() as folder:
            found, rows = measure(
                Path(folder),
                server,
                flips=options.flips,
                crashes=options.crashes,
                plant=options.plant,
                engines=options.engines,
            )
    finally:
        server.remove()
    if options.json:
        wrong = found.failed + len(found.faults) + rows.lost + rows.doubled + rows.different
        print(json.dumps({**asdict(rows), "faults": found.faults, "tried": rows.acknowledged, "failed": wrong}))
        return
    print(
        f"{options.flips} flips, {options.crashes} crashes; answers by status: {dict(found.statuses)}; "
        f"{found.looks} looks at the rows"
    )
    for name in ("flips", "keys_known", "keys_disabled", "canary_out"):
        times = getattr(found, name)
        if times:
            print(f"{name:>13}: median {statistics.median(times):.2f} s, longest {max(times):.2f} s of {len(times)}")
    for kind, seconds in found.alone.items():
        print(f"{kind}: a flip was carried out after at most {seconds:.2f} s")
    bound = f" (95 % upper bound {upper_bound(rows.acknowledged):.2g})" if rows.lost == 0 else ""
    print(
        f"lost {rows.lost} of {rows.acknowledged} acknowledged{bound}, doubled {rows.doubled}, "
        f"of another version or other words {rows.different}"
    )
    print(f"{found.failed} requests failed on a gateway that was left alone")
    print(f"{len(found.faults)} faults", *itertools.islice(found.faults, 20), sep="\n  ")
    sys.exit(bool(found.faults or found.failed or rows.lost or rows.doubled or rows.different))


if __name__ == "__main__":
    main()
