"""`serve engine` lasts as long as whoever asked for it, also while its engine starts."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from driftwheel.settings.settings import Settings

VLLM = """
import os, pathlib, signal, time
def end(*_):
    time.sleep(2)
    os._exit(0)
def main():
    signal.signal(signal.SIGTERM, end)
    pathlib.Path({mark!r}).write_text(str(os.getpid()))
    time.sleep(600)
"""
"""In the place of vLLM's command line: it loads a large model, and takes two seconds to end when it is told to."""
PATIENCE_SECONDS = 60.0


@pytest.fixture
def started(settings: Settings, tmp_path: Path) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """`serve engine` while its engine loads, and the engine's process."""
    package, mark = tmp_path / "path" / "vllm" / "entrypoints" / "cli", tmp_path / "engine.pid"
    package.mkdir(parents=True)
    for folder in (package, package.parent, package.parent.parent):
        (folder / "__init__.py").touch()
    (package.parent.parent / "utils").mkdir()
    (package.parent.parent / "utils" / "__init__.py").write_text("system_utils = type('Any', (), {})\n")
    (package / "main.py").write_text(VLLM.format(mark=str(mark)))
    (tmp_path / "model").mkdir()
    argv = [*("-m", "serve", "engine", "--model", str(tmp_path / "model"))]
    child = subprocess.Popen(
        [sys.executable, *argv, "--config", str(tmp_path / "driftwheel.yaml")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "path"), *sys.path])},
    )
    with child:
        try:
            until(lambda: mark.is_file() and bool(mark.read_text()))
            yield child, int(mark.read_text())
        finally:
            child.kill()


def until(condition: Callable[[], bool]) -> None:
    """Wait for what must come."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)


def is_gone(process_id: int) -> bool:
    """Say whether a process has ended, a zombie too."""
    try:
        return "State:\tZ" in Path(f"/proc/{process_id}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_it_stops_the_engine_that_starts_when_its_parent_is_gone(
    started: tuple["subprocess.Popen[str]", int],
) -> None:
    verb, engine_id = started
    assert verb.stdin is not None
    verb.stdin.close()  # which is what the kernel does to a parent that was killed
    until(lambda: is_gone(engine_id))
    assert verb.wait(PATIENCE_SECONDS) == 1
    assert verb.stderr is not None
    assert "standard input ended before engine model was ready" in verb.stderr.read()


def test_a_second_signal_does_not_cut_its_end_short(started: tuple["subprocess.Popen[str]", int]) -> None:
    verb, engine_id = started
    verb.send_signal(signal.SIGTERM)
    time.sleep(0.3)  # the engine is ending
    verb.send_signal(signal.SIGTERM)
    assert verb.wait(PATIENCE_SECONDS) == 0
    assert is_gone(engine_id)
