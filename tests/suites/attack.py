"""Suite: attackers and one good client at once; the gateway's memory, the attackers' ends, the client's latency.

    python -m tests.suites.attack [--share 1.0] [--only KIND] [--idle-seconds 10] [--plant no-deadlines]

Gateway, upstream, attackers and good client are processes of their own. Bars: memory grows by at most 64 MB, every
attacker is closed within 30 s, the good client's p99 stays within twice that of the idle gateway. How much of it is the
machine, whose cores the attackers share, is told by a second client that asks the engine itself meanwhile. `--plant`
breaks the gateway on purpose, to show that the suite notices.
"""

import argparse
import asyncio
import json
import multiprocessing
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from tests.support.attackers import ANSWERED, COUNTS, QUESTION, Attack, head
from tests.support.served import KEY, Served, serving

MAX_GROWTH_BYTES, MAX_OPEN_SECONDS, MAX_SLOWDOWN = 64_000_000, 30.0, 2.0
RAMP_SECONDS = 3.0
PAUSE_SECONDS = 0.01
IDLE_SECONDS, WARM_UP_SECONDS = 10.0, 2.0


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

    def wait() -> None:
        ends.update(results.get())
        stop.set()

    waiter = threading.Thread(target=wait)
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
    parser.add_argument("--idle-seconds", type=float, default=IDLE_SECONDS, help="before the attack (10)")
    parser.add_argument("--plant", choices=["no-deadlines"], help="break the gateway so")
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), parsed.plant) as served:
        outcome = measure(served, parsed.share, parsed.only, parsed.idle_seconds)
    print(report(outcome))
    raise SystemExit(1 if outcome.failures else 0)


if __name__ == "__main__":
    main()
