"""Benchmark: gateways in front of one engine, by processor time per request and added latency.

    python -m benchmarks.gateway [--rounds N] [--seconds S] [--only NAME ...] [--home DIR]

The engine costs next to nothing, so that what is measured is the gateway. Every contestant stays up; in each round
each is asked in turn, every second round backwards, so that what else the machine does falls on all of them.
driftwheel runs with its durable log, keys and metrics; nginx is the limit: it passes bytes on and does nothing else.
Processor time is the contestant's own, user and system, over all of its processes.
"""

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.gateways.contestants import CONTESTANTS, Contestant, wait_until_answering
from driftwheel.machine.system import free_port

LOADS = {"1": (1, False), "16": (16, False), "64": (64, False), "1 streamed": (1, True), "16 streamed": (16, True)}
"""What is asked: connections, and whether answers are streamed."""


@dataclass
class Measured:
    """One contestant under one load, a value for each round."""

    cpu_us: list[float] = field(default_factory=list)
    cpu_us_per_event: list[float] = field(default_factory=list)
    replies: list[dict[str, Any]] = field(default_factory=list)

    def median(self, name: str) -> float:
        """Return the median over the rounds of one of the client's figures."""
        return statistics.median(float(reply[name]) for reply in self.replies)

    def total(self, name: str) -> int:
        """Return the sum over the rounds of one of the client's counts."""
        return sum(int(reply[name]) for reply in self.replies)


def ask(contestant: Contestant, connections: int, seconds: float, *, is_stream: bool) -> dict[str, Any]:
    """Run the client against a contestant and return what it measured."""
    argv = [sys.executable, "-m", "benchmarks.gateways.client", "--port", str(contestant.port)]
    argv += ["--model", contestant.model, "--connections", str(connections), "--seconds", str(seconds)]
    argv += [part for header in contestant.headers for part in ("--header", header)]
    done = subprocess.run([*argv, *(["--stream"] if is_stream else [])], capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else {"answers": 0, "errors": 1}


def measure(contestant: Contestant, load: str, seconds: float, into: Measured) -> None:
    """Put one load on one contestant and add what came out."""
    connections, is_stream = LOADS[load]
    before = contestant.cpu_seconds()
    reply = ask(contestant, connections, seconds, is_stream=is_stream)
    used_us = (contestant.cpu_seconds() - before) * 1e6
    into.replies.append(reply)
    into.cpu_us.append(used_us / max(reply["answers"], 1))
    into.cpu_us_per_event.append(used_us / max(reply.get("events", 0), 1))


def run(home: Path, names: list[str], rounds: int, seconds: float, console: Console) -> dict[str, dict[str, Measured]]:
    """Start the contestants, ask them in turns, and return what was measured by contestant and load."""
    home.mkdir(parents=True, exist_ok=True)
    upstream = subprocess.Popen([sys.executable, "-m", "benchmarks.gateways.upstream"], stdout=subprocess.PIPE)
    assert upstream.stdout is not None
    upstream_port = int(upstream.stdout.readline())
    running: list[Contestant] = []
    try:
        for name in names:
            contestant = CONTESTANTS[name](home, free_port(), upstream_port)
            running.append(contestant)
            wait_until_answering(contestant, partial(_answers, contestant))
            ask(contestant, 16, 1.0, is_stream=False)  # warm
            console.print(f"{name} answers, {contestant.memory_mib():.0f} MiB", style="dim", highlight=False)
        results = {name: {load: Measured() for load in LOADS} for name in names}
        for number in range(rounds):
            for load in LOADS:
                for contestant in running if number % 2 == 0 else running[::-1]:
                    measure(contestant, load, seconds, results[contestant.name][load])
            console.print(f"round {number + 1} of {rounds}", style="dim", highlight=False)
        return results
    finally:
        for contestant in running:
            contestant.stop()
        upstream.kill()


def _answers(contestant: Contestant) -> bool:
    reply = ask(contestant, 1, 0.3, is_stream=False)
    return reply["answers"] > 0 and not reply["errors"]


def show(results: dict[str, dict[str, Measured]], console: Console) -> None:
    """Print a table for each load, with ratios of processor time to nginx's."""
    for load, (_, is_stream) in LOADS.items():
        unit = "event" if is_stream else "request"
        table = Table(title=f"{load} connection{'s' if load[:2] != '1 ' and load != '1' else ''}", title_justify="left")
        for column in ("gateway", f"CPU us/{unit}", "of nginx", "answers/s", "p50 ms", "p99 ms", "errors"):
            table.add_column(column, justify="left" if column == "gateway" else "right")
        for column in ("first token p50 ms", "event delay p50 ms", "p99 ms") if is_stream else ():
            table.add_column(column, justify="right")
        limit = cost(results["nginx"][load], is_stream) if "nginx" in results else None
        for name, loads in results.items():
            table.add_row(*_cells(name, loads[load], is_stream, limit))
        console.print(table)


def cost(measured: Measured, is_stream: bool) -> float:
    """Return the median processor time in microseconds, per streamed event or per request."""
    return statistics.median(measured.cpu_us_per_event if is_stream else measured.cpu_us)


def _cells(name: str, measured: Measured, is_stream: bool, limit: float | None) -> list[str]:
    own = cost(measured, is_stream)
    rate = sum(reply["answers"] for reply in measured.replies) / sum(reply["seconds"] for reply in measured.replies)
    cells = [name, f"{own:,.1f}" if own else "-", f"{own / limit:.2f}" if own and limit else "-", f"{rate:,.0f}"]
    cells += [f"{measured.median('p50_ms'):.2f}", f"{measured.median('p99_ms'):.2f}", f"{measured.total('errors')}"]
    if is_stream:
        cells += [f"{measured.median(key):.2f}" for key in ("first_p50_ms", "delay_p50_ms", "delay_p99_ms")]
    return cells


def main() -> int:
    """Run the contest and print it; 1 if driftwheel failed a request."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--home", type=Path, default=Path(".driftwheel/bench-gateway"))
    arguments = parser.parse_args()
    console = Console(width=120)
    results = run(arguments.home.resolve(), arguments.only, arguments.rounds, arguments.seconds, console)
    show(results, console)
    return int(any(m.total("errors") for m in results.get("driftwheel", {}).values()))


if __name__ == "__main__":
    sys.exit(main())
