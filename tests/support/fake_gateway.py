"""The real gateway in front of fake engines, in a process of its own.

    python -m tests.support.fake_gateway CONFIG

With DRIFTWHEEL_CRASH_AT=NAME:N in the environment the process kills itself, as a power cut would, where the N-th call
of a named step begins or has ended; the names stand in POINTS. DRIFTWHEEL_PLANT=NAMES plants
some of PLANTS. The product knows nothing of this.
"""

import asyncio
import functools
import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import uvloop

from driftwheel.settings.load import load_settings
from driftwheel.settings.serving import ServeSettings
from serve import server
from serve.engines import fleet, proof
from serve.engines.engine import Engine, start_artifact
from serve.gateway import Gateway
from serve.http.messages import Request, Response
from serve.release import standby
from serve.release.canary_run import CanaryRun
from serve.release.deployments import Deployments
from serve.release.leader import LeaderElection
from serve.routing.table import RoutingTable
from tests.support.crashing_gateway import EarlyLog

FAKE = Path(__file__).with_name("fake_engine.py")

STEPS: dict[str, tuple[Any, str]] = {
    "engine start": (fleet.Fleet, "_start_one"),
    "engine join": (fleet.Fleet, "_join"),
    "token": (Engine, "wait_ready"),
    "proof": (fleet, "prove"),
    "admission": (fleet.Fleet, "admit"),
    "flip": (RoutingTable, "point"),
    "live row": (Deployments, "go_live"),
    "canary row": (Deployments, "open"),
    "share": (CanaryRun, "_take_share"),
    "drain": (standby.Standby, "_drain"),
}
POINTS = [f"{when} {step}" for step in STEPS for when in ("before", "after")]
"""Twenty moments of a swap through a canary."""


LEAKS: dict[str, Callable[[], object]] = {
    "memory": lambda: bytearray(os.urandom(2048)),
    "files": lambda: os.dup(0),
    "threads": lambda: threading.Thread(target=threading.Event().wait, daemon=True).start(),
}
"""What is kept of every request, or of every hundredth where it is not memory."""
PLANTS = (*LEAKS, "early", "conductors")
"""Bugs: leaks; rows acknowledged before they are written; every gateway conducts."""


def command(serve: ServeSettings, model: str, name: str, port: int) -> list[str]:
    """Return the command line of a fake engine."""
    return [sys.executable, "-S", str(FAKE), model, name, str(port), serve.engine_address]


def start(serve: ServeSettings, logs: Path, artifact: Path, name: str, replica: int = 0) -> Engine:
    """Start a fake engine on an artifact, checked as a real one is."""
    return start_artifact(serve, logs, artifact, name, replica, command)


def crash_at(point: str, count: int) -> None:
    """Make this process die at a point, the `count`-th time that it comes there."""
    when, _, step = point.partition(" ")
    owner, name = STEPS[step]
    method, calls = getattr(owner, name), [0]

    def die(moment: str) -> None:
        calls[0] += moment == "before"
        if moment == when and calls[0] >= count:
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, _wrapped(method, die))


def leak(kind: str) -> None:
    """Make this process keep something of its requests for ever."""
    kept, handle, numbers = list[object](), Gateway.handle, itertools.count()

    async def leaking(self: Gateway, request: Request, response: Response) -> None:
        if next(numbers) % (1 if kind == "memory" else 100) == 0:
            kept.append(LEAKS[kind]())
        await handle(self, request, response)

    mock.patch.object(Gateway, "handle", leaking).start()


def plant(name: str) -> None:
    """Break this process."""
    if name in LEAKS:
        leak(name)
    elif name == "early":
        mock.patch.object(server, "TrafficLog", EarlyLog).start()
    elif name == "conductors":
        mock.patch.multiple(LeaderElection, is_leader=True, write=lambda self: self._ledger.write()).start()


def _wrapped(method: Callable[..., Any], die: Callable[[str], None]) -> Callable[..., Any]:
    @functools.wraps(method)
    async def in_loop(*args: Any, **named: Any) -> Any:
        die("before")
        result = await method(*args, **named)
        die("after")
        return result

    @functools.wraps(method)
    def at_once(*args: Any, **named: Any) -> Any:
        die("before")
        result = method(*args, **named)
        die("after")
        return result

    return in_loop if asyncio.iscoroutinefunction(method) else at_once


def main() -> None:
    """Serve until a signal comes."""
    assert vars(fleet)["prove"] is proof.prove
    if crash := os.environ.get("DRIFTWHEEL_CRASH_AT"):
        point, _, count = crash.rpartition(":")
        crash_at(point, int(count))
    for name in os.environ.get("DRIFTWHEEL_PLANT", "").split():
        plant(name)
    uvloop.run(server.serve(load_settings(sys.argv[1]), start))


if __name__ == "__main__":
    main()
