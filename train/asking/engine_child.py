"""Runs `python -m serve engine` as a child for as long as a `with` block lasts.

Stages never import one another, so the engine is reached as a user would reach it: by its command.
"""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from driftwheel.errors import EngineError
from driftwheel.identity import utc_now
from driftwheel.machine.child_secrets import for_stage
from driftwheel.settings.settings import Settings
from train.asking.client import Endpoint
from train.step_progress import progress

STOP_SECONDS = 30.0
START_MARGIN_SECONDS = 30.0
"""The child has its own time limit and a better message; this one is for a child that hangs."""


@contextmanager
def engine(settings: Settings, source: list[str]) -> Iterator[Endpoint]:
    """Serve `["--artifact", DIR]` or `["--model", NAME]` and stop it afterwards, whatever happens.

    Raises EngineError with the child's own message if it does not start.
    """
    # With port 0 the child takes a free port and says which.
    argv = settings.child_command("serve", "engine", "--port", "0", *source)
    log_path = settings.root / "logs" / f"evaluation-engine-{utc_now():%Y%m%dT%H%M%S%f}.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("w", encoding="utf-8") as log:
        # The child ends when its stdin does, so it cannot outlive this process.
        child = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=for_stage(os.environ) | settings.child_environment(with_secrets=False),
        )
        try:
            with progress("engine start"):
                # It first waits for memory of a GPU.
                patience = settings.serve.room_timeout_seconds + settings.serve.start_timeout_seconds
                endpoint = _wait_for_endpoint(child, patience, source[1], log_path)
            yield endpoint
        finally:
            _stop(child)


def _wait_for_endpoint(child: "subprocess.Popen[str]", patience_seconds: float, name: str, log_path: Path) -> Endpoint:
    # Reading a line waits for ever on a child that hangs before it prints one.
    timer = threading.Timer(patience_seconds + START_MARGIN_SECONDS, child.kill)
    timer.start()
    try:
        endpoint = _read_endpoint(child.stdout) if child.stdout else None
    finally:
        timer.cancel()
    if endpoint is None:
        child.wait()
        raise EngineError(f"the engine for {name} did not start: {_last_words(log_path)} (see {log_path})")
    return endpoint


def _read_endpoint(lines: IO[str]) -> Endpoint | None:
    for line in lines:
        try:
            facts = json.loads(line)
        except json.JSONDecodeError:
            continue  # something that the engine's libraries print
        if isinstance(facts, dict) and "url" in facts:
            return Endpoint(
                url=facts["url"],
                model=facts["model"],
                start_seconds=facts["start_seconds"],
                base_model=facts.get("base_model"),
            )
    return None


def _last_words(log_path: Path) -> str:
    lines = [line.strip() for line in log_path.read_text(encoding="utf-8", errors="replace").splitlines()]
    said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    spoken = said or [line for line in lines if line]
    return spoken[-1] if spoken else "it said nothing"


def _stop(child: "subprocess.Popen[str]") -> None:
    if child.stdin:
        child.stdin.close()
    child.terminate()
    try:
        child.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    if child.stdout:
        child.stdout.close()
