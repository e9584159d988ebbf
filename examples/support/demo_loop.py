"""Drives a loop as its users do, by verbs and HTTP requests, and waits for the effects."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
from rich.console import Console

from driftwheel.errors import DriftwheelError, EngineError
from driftwheel.records.check_details import DECIDING
from driftwheel.records.nouns import DecisionVerdict, DriftSignal, DriftVerdict, RetrainDecision
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from examples.support.claims import Measured
from examples.support.demo_tasks import SUPPORT
from examples.support.load import Client, Reply
from examples.support.task import Task

POLL_SECONDS = 0.5
CHECKS_TIMEOUT_SECONDS = 120.0
RETRAIN_TIMEOUT_SECONDS = 1500.0
"""Longest wait for a retrain from its decision to its end."""


@dataclass
class Demo:
    """The loop under way and what was measured so far."""

    console: Console
    settings: Settings
    ledger: Ledger
    client: Client
    task: Task = SUPPORT
    seconds: dict[str, float] = field(default_factory=dict)
    retrain_seconds: dict[str, float] = field(default_factory=dict)
    measured: Measured = field(default_factory=Measured)
    swap_replies: list[Reply] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Announce and time a step."""
        self.console.rule(f"[bold]{name}", align="left")
        started_at = time.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0) + time.monotonic() - started_at

    def verb(self, *arguments: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
        """Run `driftwheel VERB ... --json` as a user would and return what it printed."""
        self.console.print(f"$ driftwheel {' '.join(arguments)}", style="cyan", markup=False, soft_wrap=True)
        flags = [part for override in overrides for part in ("--set", override)]
        program = [sys.executable, "-m", "driftwheel.cli.main"]
        argv = [*program, *arguments, "--config", str(self.settings.path), "--json", *flags]
        done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise DriftwheelError(f"`driftwheel {arguments[0]}` failed; its message stands above")
        result: dict[str, Any] = json.loads(done.stdout.strip().split("\n")[-1])
        return result

    def say(self, text: str) -> None:
        """Print one line of result."""
        self.console.print(f"  {text}", markup=False, highlight=False, soft_wrap=True)


async def wait_until_ready(demo: Demo) -> None:
    """Wait until the gateway gives a real token."""
    deadline = time.monotonic() + demo.settings.serve.start_timeout_seconds
    async with httpx2.AsyncClient(trust_env=False) as http:
        while time.monotonic() < deadline:
            try:
                if (await http.get(f"{demo.client.url}/readyz")).status_code == 200:
                    return
            except httpx2.HTTPError:
                pass
            await asyncio.sleep(POLL_SECONDS)
    raise EngineError(f"the gateway was not ready in time; see {demo.settings.logs}")


async def wait_for_checks(demo: Demo, rows: int) -> None:
    """Wait until the monitor has looked at every full window of the live version's traffic."""
    windows = rows // demo.settings.monitor.window_rows
    deadline = time.monotonic() + CHECKS_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        if len({s.check_id for s in signals(demo, demo.measured.v1)}) >= windows:
            return
        await asyncio.sleep(POLL_SECONDS)
    raise EngineError(f"the monitor did not check {windows} windows in time; see {demo.settings.logs}")


def signals(demo: Demo, version_id: str) -> list[DriftSignal]:
    """Return the version's decisive signals, oldest first."""
    return demo.ledger.find(
        DriftSignal, project=demo.settings.project, version_id=version_id, feature=DECIDING, newest_first=False
    )


def alarms(demo: Demo, version_id: str) -> list[DriftSignal]:
    """Return the version's alarms, oldest first."""
    return [s for s in signals(demo, version_id) if s.verdict is DriftVerdict.DRIFTED]


def retrain_decision(demo: Demo) -> RetrainDecision | None:
    """Return the newest decision to retrain."""
    found = demo.ledger.find(RetrainDecision, project=demo.settings.project, verdict=DecisionVerdict.RETRAIN, limit=1)
    return found[0] if found else None


async def until(condition: Callable[[], bool], deadline: float) -> None:
    """Wait for a condition; raises EngineError at the deadline."""
    while not await asyncio.to_thread(condition):
        if time.monotonic() > deadline:
            raise EngineError("the retrain did not end in time; `driftwheel status` says where it stands")
        await asyncio.sleep(POLL_SECONDS)


@contextmanager
def running(settings: Settings) -> Iterator["subprocess.Popen[bytes]"]:
    """Run `driftwheel up` beside the block, and stop it whatever ends the block, a SIGTERM too."""
    # As an exit, so that the `finally` below runs: else the loop would outlive the demo.
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    up = subprocess.Popen([sys.executable, "-m", "driftwheel.cli.main", "up", "--config", str(settings.path)])
    try:
        yield up
    finally:
        up.terminate()
        up.wait()
        signal.signal(signal.SIGTERM, before)
