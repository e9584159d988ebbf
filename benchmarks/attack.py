"""Attackers and one good client at once become the gateway's growth, the attackers' ends and the client's latency.

    python -m benchmarks.attack [--share 1.0] [--plant no-deadlines]

Gateway, upstream, attackers and good client are processes of their own. Bars: memory grows by at most 64 MB, every
attacker is closed within 30 s, the good client's p99 stays within twice that of the idle gateway. How much of it is the
machine, whose cores the attackers share, is told by a second client that asks the engine itself meanwhile. `--plant`
breaks the gateway on purpose, to show that the suite notices.
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import select
import socket
import statistics
import tempfile
import threading
import time
import zlib
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from benchmarks.served import ATTACKERS_KEY, KEY, Served, serving

MAX_GROWTH_BYTES, MAX_OPEN_SECONDS, MAX_SLOWDOWN = 64_000_000, 30.0, 2.0
GIVE_UP_SECONDS = 45.0
RAMP_SECONDS = 3.0
PAUSE_SECONDS = 0.01
IDLE_SECONDS, WARM_UP_SECONDS = 10.0, 2.0
PATH = "/v1/chat/completions"
QUESTION = {"model": "bench", "messages": [{"role": "user", "content": "where is my card"}]}
Attack = Callable[[int], Awaitable[str]]
"""A port becomes what ended the attack: an HTTP status, `closed`, or `still open`."""


def head(size: int | None, *more: str, key: str = ATTACKERS_KEY) -> bytes:
    """Return the head of a request with a body of a size, or with an endless one."""
    length = "transfer-encoding: chunked" if size is None else f"content-length: {size}"
    lines = [f"POST {PATH} HTTP/1.1", "host: gateway", *([f"authorization: Bearer {key}"] if key else []), length]
    return "\r\n".join([*lines, *more, "", ""]).encode()


async def slow_headers(port: int) -> str:
    """Send a header byte by byte."""
    return await _drip(port, b"GET /healthz HTTP/1.1\r\nx: ", b"a")


async def slow_body(port: int) -> str:
    """Send half of a body, and then byte by byte."""
    return await _drip(port, head(1_000_000) + b" " * 500_000, b" ")


async def slow_reader(port: int) -> str:
    """Ask for a long stream and never read it."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", port))
        body = json.dumps({**QUESTION, "stream": True, "big": 4_000_000}).encode()
        await loop.sock_sendall(client, head(len(body)) + body)
        poll = select.poll()
        poll.register(client, 0)
        ends_at = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < ends_at:
            await asyncio.sleep(0.5)
            if poll.poll(0):
                return "closed"
            # A refusal is short and fits into the buffers, so it is seen by looking without taking.
            with contextlib.suppress(BlockingIOError):
                if (seen := client.recv(12, socket.MSG_PEEK)) and not seen.endswith(b"200"):
                    return seen[9:12].decode()
        return "still open"


async def huge_body(port: int) -> str:
    """Announce and send a gigabyte."""
    return await _pour(port, head(1_000_000_000), b"a" * 65_536)


async def endless_chunks(port: int) -> str:
    """Send chunks without end."""
    return await _pour(port, head(None), b"10000\r\n" + b"a" * 65_536 + b"\r\n")


async def strangers_body(port: int) -> str:
    """Send a gigabyte without a key."""
    return await _pour(port, head(1_000_000_000, key=""), b"a" * 65_536)


async def huge_headers(port: int) -> str:
    """Send a megabyte of headers."""
    return await _pour(port, b"GET /healthz HTTP/1.1\r\n", b"x: " + b"a" * 1000 + b"\r\n", times=1000)


async def endless_trailer(port: int) -> str:
    """End a body and send a trailer without end, without a key."""
    start = b"GET /healthz HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: "
    return await _pour(port, start, b"a" * 65_536)


async def deep_json(port: int) -> str:
    """Nest 10,000 deep."""
    body = b'{"model": "bench", "messages": ' + b"[" * 10_000 + b"]" * 10_000 + b"}"
    return await _pour(port, head(len(body)), body, times=1)


async def wide_json(port: int) -> str:
    """Send a body whose parsed form is 25 times as large."""
    body = b'{"model": "bench", "messages": [' + b"{}," * 300_000 + b"{}]}"
    return await _pour(port, head(len(body)), body, times=1)


async def gzip_bomb(port: int) -> str:
    """Send a compressed body that would unpack to 10 MB."""
    body = zlib.compress(b" " * 10_000_000)
    return await _pour(port, head(len(body), "content-encoding: gzip"), body, times=1)


async def billion_answers(port: int) -> str:
    """Ask for a billion answers."""
    body = json.dumps({**QUESTION, "n": 10**9}).encode()
    return await _pour(port, head(len(body)), body, times=1)


COUNTS: dict[Attack, int] = {
    slow_headers: 2000, slow_body: 500, slow_reader: 500, huge_body: 20, endless_chunks: 20, strangers_body: 20,
    huge_headers: 20, endless_trailer: 20, deep_json: 200, wide_json: 20, gzip_bomb: 50, billion_answers: 200,
}  # fmt: skip
ANSWERED = {deep_json: "400", wide_json: "400", billion_answers: "400", gzip_bomb: "415", huge_body: "413",
            endless_chunks: "413", strangers_body: "401", huge_headers: "431", endless_trailer: "431"}  # fmt: skip
"""What must be told where the attacker reads; 503 where too many large bodies are held already."""


async def _drip(port: int, start: bytes, drop: bytes) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = asyncio.create_task(_status(reader))
    try:
        writer.write(start)
        ends_at = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < ends_at:
            done, _ = await asyncio.wait([answer], timeout=1.0)
            if done:
                return answer.result()
            writer.write(drop)
        return "still open"
    finally:
        answer.cancel()
        writer.close()


async def _pour(port: int, start: bytes, part: bytes, times: int = 1 << 30) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = asyncio.create_task(_status(reader))
    try:
        writer.write(start)
        for _ in range(times):
            if answer.done():
                break
            writer.write(part)
            await writer.drain()
        if times == 1000:
            writer.write(b"\r\n")
        done, _ = await asyncio.wait([answer], timeout=GIVE_UP_SECONDS)
        return answer.result() if done else "still open"
    except ConnectionError:
        done, _ = await asyncio.wait([answer], timeout=1.0)
        return answer.result() if done else "closed"
    finally:
        answer.cancel()
        writer.close()


async def _status(reader: asyncio.StreamReader) -> str:
    """Return the status that came, once the gateway has closed; a keep-alive answer ends it too."""
    try:
        line = await reader.readline()
    except ConnectionError:
        return "closed"
    return line[9:12].decode() or "closed"


@dataclass
class Ends:
    """How attacks of one kind ended, and after how long."""

    seconds: list[float] = field(default_factory=list)
    how: dict[str, int] = field(default_factory=dict)


def attack(port: int, share: float, only: str | None, results: "multiprocessing.Queue[dict[str, Ends]]") -> None:
    """Run every attacker of the list at once, in this process."""
    chosen = {kind: count for kind, count in COUNTS.items() if only in (None, kind.__name__)}
    ends = {kind.__name__: Ends() for kind in chosen}

    async def one(kind: Attack, delay_seconds: float) -> None:
        await asyncio.sleep(delay_seconds)
        started_at = time.monotonic()
        try:
            how = await kind(port)
        except ConnectionError:
            how = "closed"
        found = ends[kind.__name__]
        found.seconds.append(time.monotonic() - started_at)
        found.how[how] = found.how.get(how, 0) + 1

    async def everyone() -> None:
        tasks = []
        for kind, count in chosen.items():
            number = max(1, round(count * share))
            tasks += [one(kind, RAMP_SECONDS * index / number) for index in range(number)]
        await asyncio.gather(*tasks)

    uvloop.run(everyone())
    results.put(ends)


async def latencies(port: int, stop: threading.Event, found: list[float]) -> int:
    """Ask as a good client does, on one connection, until stopped; return how many requests failed."""
    body = json.dumps(QUESTION).encode()
    failed = 0
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while not stop.is_set():
        started_at = time.perf_counter()
        writer.write(head(len(body), key=KEY) + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        lengths = [line[15:] for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        await reader.readexactly(int(lengths[0]))
        found.append(time.perf_counter() - started_at)
        failed += not answer.startswith(b"HTTP/1.1 200")
        await asyncio.sleep(PAUSE_SECONDS)
    writer.close()
    return failed


def resident_bytes(pid: int) -> int:
    """Return a process' memory."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


@dataclass
class Outcome:
    """What was measured."""

    idle_seconds: list[float]
    busy_seconds: list[float]
    past_idle_seconds: list[float]
    past_busy_seconds: list[float]
    """Of the client that goes past the gateway."""
    failed: int
    growth_bytes: int
    ends: dict[str, Ends]

    @property
    def failures(self) -> list[str]:
        """Name the bars that were missed."""
        missed = [] if self.growth_bytes <= MAX_GROWTH_BYTES else ["memory"]
        missed += [name for name, end in self.ends.items() if max(end.seconds) > MAX_OPEN_SECONDS]
        missed += [
            f"{kind.__name__} was told {self.ends[kind.__name__].how}"
            for kind, status in ANSWERED.items()
            if kind.__name__ in self.ends and set(self.ends[kind.__name__].how) - {status, "503", "closed"}
        ]
        missed += ["p99"] if p99(self.busy_seconds) > MAX_SLOWDOWN * p99(self.idle_seconds) else []
        return missed + (["good requests failed"] if self.failed else [])


def p99(seconds: list[float]) -> float:
    """Return the 99th percentile."""
    return statistics.quantiles(seconds, n=100)[-1]


def measure(served: Served, share: float, only: str | None = None, idle_seconds: float = IDLE_SECONDS) -> Outcome:
    """Measure the idle gateway, then let the attackers loose."""
    ports = (served.port, served.engine_port)
    _ask_for(ports, WARM_UP_SECONDS)
    idle, failed_idle = _ask_for(ports, idle_seconds)
    before = resident_bytes(served.pid)
    spawning = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[dict[str, Ends]] = spawning.Queue()
    attackers = spawning.Process(target=attack, args=(served.port, share, only, results))
    attackers.start()
    stop, most, ends = threading.Event(), [before], dict[str, Ends]()
    watcher = threading.Thread(target=_watch, args=(served.pid, stop, most))
    watcher.start()
    waiter = threading.Thread(target=lambda: (ends.update(results.get()), stop.set()))
    waiter.start()
    busy, failed_busy = _ask_until(ports, stop)
    for thread in (waiter, watcher):
        thread.join()
    attackers.join()
    return Outcome(idle[0], busy[0], idle[1], busy[1], failed_idle + failed_busy, most[0] - before, ends)


def _ask_for(ports: Sequence[int], seconds: float) -> tuple[list[list[float]], int]:
    stop = threading.Event()
    threading.Timer(seconds, stop.set).start()
    return _ask_until(ports, stop)


def _ask_until(ports: Sequence[int], stop: threading.Event) -> tuple[list[list[float]], int]:
    """Ask each port as a good client of its own until told to stop; return the latencies, and how many failed."""
    found: list[list[float]] = [[] for _ in ports]
    with ThreadPoolExecutor() as clients:
        asking = [
            clients.submit(lambda port, mine: uvloop.run(latencies(port, stop, mine)), port, mine)
            for port, mine in zip(ports, found, strict=True)
        ]
        return found, sum(task.result() for task in asking)


def _watch(pid: int, stop: threading.Event, most: list[int]) -> None:
    while not stop.wait(0.1):
        most[0] = max(most[0], resident_bytes(pid))


def report(outcome: Outcome) -> str:
    """Say what was measured."""
    lines = [
        f"{name:<16} {len(end.seconds):>5}  closed after at most {max(end.seconds):5.1f} s  {end.how}"
        for name, end in outcome.ends.items()
    ]
    lines += [
        f"memory grew by {outcome.growth_bytes / 1e6:.1f} MB (bar {MAX_GROWTH_BYTES / 1e6:.0f})",
        f"good client, idle:                   {_quantiles(outcome.idle_seconds)}",
        f"good client, attack:                 {_quantiles(outcome.busy_seconds)} (bar {MAX_SLOWDOWN:g} times idle)",
        f"the engine past the gateway, idle:   {_quantiles(outcome.past_idle_seconds)}",
        f"the engine past the gateway, attack: {_quantiles(outcome.past_busy_seconds)}",
        f"good requests that failed: {outcome.failed}",
        f"missed: {', '.join(outcome.failures) or 'nothing'}",
    ]
    return "\n".join(lines)


def _quantiles(seconds: list[float]) -> str:
    p50_ms, p99_ms = statistics.median(seconds) * 1e3, p99(seconds) * 1e3
    return f"{len(seconds)} requests, p50 {p50_ms:.2f} ms, p99 {p99_ms:.2f} ms"


def main() -> None:
    """Run it and exit with 1 if a bar was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--share", type=float, default=1.0, help="share of the attackers (1.0)")
    parser.add_argument("--only", choices=[kind.__name__ for kind in COUNTS], help="one kind of attacker")
    parser.add_argument("--plant", choices=["no-deadlines"], help="break the gateway so")
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), parsed.plant) as served:
        outcome = measure(served, parsed.share, parsed.only)
    print(report(outcome))
    raise SystemExit(1 if outcome.failures else 0)


if __name__ == "__main__":
    main()
