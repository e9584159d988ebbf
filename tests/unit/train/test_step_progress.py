"""A long step says how far it is, in a log file by whole lines."""

import io
import re
import time

import pytest
from rich.console import Console

from train.step_progress import progress


def log_file() -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=False), file


def wait_for(file: io.StringIO, pattern: str) -> None:
    deadline = time.monotonic() + 60
    while not re.search(pattern, file.getvalue(), re.MULTILINE):
        assert time.monotonic() < deadline, file.getvalue()
        time.sleep(0.01)


def test_a_log_file_gets_a_line_now_and_then_and_no_bar() -> None:
    console, file = log_file()
    with progress("evaluate", 40, console=console, every_seconds=0.02) as advance:
        for _ in range(10):
            advance()
        wait_for(file, r"^evaluate: 10 of 40, \d+ s left$")
    assert re.search(r"^evaluate: done after \d+ s$", file.getvalue(), re.MULTILINE)
    assert not {"\r", "\x1b"} & set(file.getvalue())


def test_a_step_without_parts_says_how_long_it_takes() -> None:
    console, file = log_file()
    with progress("engine start", console=console, every_seconds=0.02):
        wait_for(file, r"^engine start: \d+ s$")


def test_a_step_that_is_soon_over_writes_nothing() -> None:
    console, file = log_file()
    with progress("merge", console=console, every_seconds=60):
        pass
    assert file.getvalue() == ""


def test_a_step_that_fails_is_not_said_to_be_done() -> None:
    console, file = log_file()
    with pytest.raises(ValueError, match="bad"), progress("merge", console=console, every_seconds=0.02):
        wait_for(file, "^merge")
        raise ValueError("bad")
    assert "done" not in file.getvalue()


def test_on_a_terminal_there_is_a_bar() -> None:
    file = io.StringIO()
    with progress("evaluate", 2, console=Console(file=file, force_terminal=True, width=80)) as advance:
        advance()
        advance()
    assert "2/2" in file.getvalue()
