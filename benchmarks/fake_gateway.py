"""Settings become the real gateway, in a process of its own, in front of fake engines.

    python -m benchmarks.fake_gateway CONFIG

With DRIFTWHEEL_CRASH_AT=NAME:N in the environment the process kills itself, as a power cut would, where the N-th call
of a named step begins or has ended; the names stand in POINTS. The product knows nothing of this.
"""

import asyncio
import functools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop

from driftwheel.config import Settings, load_settings
from serve import fleet, process, proof, standby
from serve.deployments import Deployments
from serve.engine import Engine, start_artifact
from serve.routes import RoutingTable
from serve.trial import Trial

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
    "share": (Trial, "_take_share"),
    "drain": (standby.Standby, "_drain"),
}
POINTS = [f"{when} {step}" for step in STEPS for when in ("before", "after")]
"""Twenty moments of a swap through a canary."""


def command(settings: Settings, model: str, name: str, port: int) -> list[str]:
    """Return the command line of a fake engine."""
    return [sys.executable, "-S", str(FAKE), model, name, str(port)]


def start(settings: Settings, artifact: Path, name: str, replica: int = 0) -> Engine:
    """Start a fake engine on an artifact, checked as a real one is."""
    return start_artifact(settings, artifact, name, replica, command)


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
    assert proof.prove is fleet.prove
    if crash := os.environ.get("DRIFTWHEEL_CRASH_AT"):
        point, _, count = crash.rpartition(":")
        crash_at(point, int(count))
    uvloop.run(process.serve(load_settings(sys.argv[1]), start))


if __name__ == "__main__":
    main()
