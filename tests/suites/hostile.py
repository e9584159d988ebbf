"""Suite: hostile inputs to the gateway; counts crashes, 5xx, leaked details and lost rows.

    python -m tests.suites.hostile [--count 100000] [--seed 4] [--plant NAME]

A real gateway process with its durable log stands in front of an engine that answers everything and writes down the
id of each answer: that, and the ids and bytes that clients saw, are the oracle. `--plant` breaks the gateway.
"""

import argparse
import asyncio
import contextlib
import json
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import uvloop
from scipy.stats import beta

from driftwheel.records.nouns import Traffic
from driftwheel.store.ledger import Ledger
from serve import openapi
from tests.suites.auth import TELLTALES
from tests.support.hostile_inputs import ENGINE_PATHS, FORMS, Input, draws, inputs, request
from tests.support.planted_bugs import PLANTS
from tests.support.served import KEY, VERSION, Served, gateway_before
from tests.support.upstream import Upstream

CLIENTS = 32
GOOD = b'{"model": "bench", "prompt": "hi"}'
ANSWER_SECONDS, QUIET_SECONDS, RAW_SECONDS = 60.0, 0.03, 0.5
CLOCK_SECONDS = 0.1
_HEADS = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n")
_ID = re.compile(rb"x-request-id: (\S+)")
BUGS = (b"met a bug", b"Traceback", b"Exception in callback", b"never retrieved")


class Witness(Upstream):
    """An engine that remembers what it answered."""

    answered: list[str]
    strange: list[bytes]

    def on_header(self, name: bytes, value: bytes) -> None:
        if name == b"x-request-id":
            self.answered.append(value.decode())

    def on_message_complete(self) -> None:
        # Whatever a client wrote, the engine must be asked for the version that was chosen for it.
        with contextlib.suppress(ValueError, RecursionError, TypeError):
            if json.loads(self._body)["model"] != VERSION:
                self.strange.append(self._body[:300])
        super().on_message_complete()


@dataclass
class Findings:
    """What came of the inputs."""

    tried: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    own_errors: list[str] = field(default_factory=list)
    telling: list[str] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    bodies: dict[str, bytes] = field(default_factory=dict)
    """What a client got whole from an engine's route, by the answer's id."""
    seen: set[str] = field(default_factory=set)
    """Every id that came with a 200 from an engine's route."""
    answered: list[str] = field(default_factory=list)
    strange: list[bytes] = field(default_factory=list)
    unlogged: set[str] = field(default_factory=set)
    otherwise_logged: list[str] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    slowest_seconds: float = 0.0
    """The longest time for a whole answer."""
    standstill_seconds: float = 0.0
    """The longest time in which this process itself did not run."""
    cpu_seconds: float = 0.0

    @property
    def failures(self) -> int:
        """How many inputs did harm."""
        found = (self.own_errors, self.telling, self.unanswered, self.strange, self.otherwise_logged, self.crashes)
        return sum(len(kind) for kind in found) + len(self.unlogged)


class Client:
    """Sends inputs, those of good form on one connection."""

    def __init__(self, port: int, found: Findings) -> None:
        self._port, self._found = port, found
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, one: Input) -> None:
        """Send an input and note what came back."""
        self._found.tried += 1
        if not one.is_framed:
            self._judge(one, await self._raw(one.data))
            return
        why, began_at = "", time.monotonic()
        for _ in range(2):  # the gateway may have closed the connection after the answer before
            try:
                answer = await asyncio.wait_for(self._framed(one.data), ANSWER_SECONDS)
            except (ConnectionError, asyncio.IncompleteReadError, TimeoutError) as error:
                self.close()
                why += f" {error!r}"
            else:
                self._found.slowest_seconds = max(self._found.slowest_seconds, time.monotonic() - began_at)
                self._judge(one, answer)
                return
        seconds = time.monotonic() - began_at
        self._found.unanswered.append(f"{one.data[:600]!r} after {self._found.tried} and {seconds:.1f} s:{why}")

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None

    async def _framed(self, data: bytes) -> bytes:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(data)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        if length:
            is_head = data.startswith(b"HEAD ")
            body = b"" if is_head else await reader.readexactly(int(length[1]))
        else:
            body = b"".join([part async for part in _chunks(reader)])
        if b"connection: close" in head:
            self.close()
        return head + body

    async def _raw(self, data: bytes) -> bytes:
        """Send bytes on a connection of their own, and take what comes until it is quiet."""
        answer = b""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                writer.write(data)
                while part := await asyncio.wait_for(reader.read(65_536), RAW_SECONDS if not answer else QUIET_SECONDS):
                    answer += part
            finally:
                writer.close()
        except (ConnectionError, TimeoutError):
            pass
        return answer

    def _judge(self, one: Input, answer: bytes) -> None:
        found, name = self._found, repr(one.data[:600])
        for status, _ in _HEADS.findall(answer):
            found.statuses[int(status)] += 1
            if status.startswith(b"5"):
                found.own_errors.append(f"{status.decode()} {name} {answer[:600]!r}")
        if any(word in answer for word in TELLTALES):
            found.telling.append(f"{name} {answer[:600]!r}")
        if one.is_framed and one.path in ENGINE_PATHS and answer.startswith(b"HTTP/1.1 200 "):
            head, _, body = answer.partition(b"\r\n\r\n")
            if request_id := _ID.search(head):
                found.seen.add(request_id[1].decode())
                found.bodies[request_id[1].decode()] = body


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int(await reader.readline(), 16):
        yield (await reader.readexactly(size + 2))[:-2]
    await reader.readline()


async def attack(served: Served, witness: type[Witness], todo: Iterator[Input]) -> Findings:
    """Send every input; raises nothing, whatever comes."""
    found, began_at = Findings(), time.monotonic()

    async def work() -> None:
        client = Client(served.port, found)
        for one in todo:
            await client.send(one)
        client.close()

    clock = asyncio.create_task(_watch_own_clock(found))
    await asyncio.gather(*(work() for _ in range(CLIENTS)))
    clock.cancel()
    found.seconds = time.monotonic() - began_at
    last = Client(served.port, found)
    await last.send(Input(request("/v1/completions", GOOD, KEY), "/v1/completions", is_framed=True))
    last.close()
    await asyncio.sleep(1)  # the rows of those who left are written too
    found.answered, found.strange = witness.answered, witness.strange
    found.cpu_seconds = _cpu_seconds(served.pid)
    return found


async def _watch_own_clock(found: Findings) -> None:
    while True:
        began_at = time.monotonic()
        await asyncio.sleep(CLOCK_SECONDS)
        found.standstill_seconds = max(found.standstill_seconds, time.monotonic() - began_at - CLOCK_SECONDS)


def examine(count: int, number: int, folder: Path, plant: str | None = None) -> Findings:
    """Send the inputs of a seed to a gateway whose ledger lies in a folder, and read what is in it then."""
    drawn = draws(max(1, count // FORMS), number, json.loads(openapi.document()))
    todo = inputs(drawn, number, KEY)
    witness = type("OneWitness", (Witness,), {"answered": [], "strange": []})
    ledger_url = ""

    async def run() -> Findings:
        nonlocal ledger_url
        loop = asyncio.get_running_loop()
        engine = await loop.create_server(lambda: witness([]), "127.0.0.1", 0, backlog=4096)
        starting = gateway_before(engine.sockets[0].getsockname()[1], folder, plant)
        served = await asyncio.to_thread(starting.__enter__)
        try:
            ledger_url = served.ledger_url
            found = await attack(served, witness, todo)
            if _stat(served.pid)[0] == "Z":
                found.crashes.append("the gateway is gone")
            return found
        finally:
            await asyncio.to_thread(starting.__exit__, None, None, None)
            engine.close()

    found = uvloop.run(run())
    log = (folder / "gateway.log").read_bytes()
    found.crashes += [f"its log says {word!r}" for word in BUGS if word in log]
    _compare_with_rows(found, ledger_url)
    return found


def _compare_with_rows(found: Findings, ledger_url: str) -> None:
    ledger = Ledger(ledger_url)
    rows = {row.id: row for row in ledger.find(Traffic)}
    ledger.close()
    found.unlogged = ({*found.answered} | found.seen) - rows.keys()
    for request_id, body in found.bodies.items():
        row = rows.get(request_id)
        if row is not None and (row.response or "").encode() != body:
            found.otherwise_logged.append(f"{request_id}: {body[:200]!r} in the log as {row.response!r}")
    found.otherwise_logged += [
        f"{request_id} was given, and asked of no engine" for request_id in found.seen - {*found.answered}
    ]


def _cpu_seconds(pid: int) -> float:
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """Return what the system says of a child that nobody has waited for, beginning with its state."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()


def report(found: Findings, number: int) -> str:
    """Say what was tried and what came of it."""
    bound = beta.ppf(0.95, found.failures + 1, max(1, found.tried - found.failures))
    overload = sum(1 for error in found.own_errors if error.startswith("503"))
    lines = [
        f"seed {number}, {found.tried} inputs in {found.seconds:.0f} s ({found.cpu_seconds:.0f} s CPU of the gateway), "
        f"{FORMS} forms of each draw; answers {dict(sorted(found.statuses.items()))}",
        f"did harm {found.failures} (95 % upper bound of the share {bound:.1e}): crashes {len(found.crashes)}, errors "
        f"of its own {len(found.own_errors) - overload} and 503 {overload}, tales told {len(found.telling)}, "
        f"unanswered {len(found.unanswered)}; slowest answer {found.slowest_seconds:.1f} s, this process "
        f"stood still for up to {found.standstill_seconds:.1f} s",
        f"the engine answered {len(found.answered)}, clients read {len(found.seen)} of these whole; not logged "
        f"{len(found.unlogged)}, otherwise {len(found.otherwise_logged)}, for another model {len(found.strange)}",
    ]
    for kind in (found.crashes, found.own_errors, found.telling, found.unanswered, found.otherwise_logged):
        lines += kind[:3]
    return "\n".join([*lines, *sorted(found.unlogged)[:3], *(repr(body) for body in found.strange[:3])])


def main() -> None:
    """Run the inputs and exit with 1 if one did harm."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=100_000, help="inputs (100000)")
    parser.add_argument("--seed", type=int, default=4, help="seed of the inputs (4)")
    parser.add_argument("--plant", choices=sorted(PLANTS), help="break the gateway so")
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = examine(parsed.count, parsed.seed, Path(folder), parsed.plant)
    print(report(found, parsed.seed))
    raise SystemExit(1 if found.failures else 0)


if __name__ == "__main__":
    main()
