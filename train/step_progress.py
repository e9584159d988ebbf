"""Shows how far a long step is: a bar on a terminal, and a line now and then in a log file.

A step whose end cannot be foreseen, such as the start of an engine, shows the time that it has taken.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

PLAIN_LINE_SECONDS = 5.0
"""In a log file a bar that is drawn anew would be thousands of lines; a step that is over sooner writes none."""


@contextmanager
def progress(
    title: str, total: int | None = None, *, console: Console | None = None, every_seconds: float = PLAIN_LINE_SECONDS
) -> Iterator[Callable[[], None]]:
    """Show a step's progress on stderr and give the function that moves it by one; None is a step without parts."""
    shown = console or Console(stderr=True)
    if not shown.is_terminal:
        with _lines(title, total, shown, every_seconds) as advance:
            yield advance
        return
    counted: list[ProgressColumn] = [TimeElapsedColumn()] if total is None else [MofNCompleteColumn()]
    left = [] if total is None else [TimeRemainingColumn()]
    with Progress(TextColumn(title), BarColumn(), *counted, *left, console=shown) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)


@contextmanager
def _lines(title: str, total: int | None, console: Console, every_seconds: float) -> Iterator[Callable[[], None]]:
    done, is_over, began_at = [0], threading.Event(), time.monotonic()

    def advance() -> None:
        done[0] += 1

    def write(text: str) -> None:
        console.print(f"{title}: {text}", markup=False, highlight=False, soft_wrap=True)

    def report() -> None:
        while not is_over.wait(every_seconds):
            write(_how_far(done[0], total, time.monotonic() - began_at))

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield advance
    finally:
        is_over.set()
        thread.join()
    seconds = time.monotonic() - began_at
    if seconds >= every_seconds:
        write(f"done after {seconds:.0f} s")


def _how_far(done: int, total: int | None, seconds: float) -> str:
    if total is None:
        return f"{seconds:.0f} s"
    left = f", {seconds / done * (total - done):.0f} s left" if done else ""
    return f"{done} of {total}{left}"
