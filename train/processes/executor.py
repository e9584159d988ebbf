"""Runs a command as a child process in its own process group, which can be held, continued and stopped."""

import contextlib
import math
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Protocol

from driftwheel.errors import CancelledError, ConfigError, DriftwheelError, StorageError, TimeLimitError
from driftwheel.machine.child_secrets import without_secrets
from driftwheel.machine.system import die_with_parent

POLL_SECONDS = 0.1
STOP_SECONDS = 8.0
"""How long a child may take to end by itself, such as to write what it has, before it is killed: with its last look a
step that hangs is gone 10 s after its limit."""
TRY_AGAIN = 75
"""Exit status of a child that the database or the disk refused for now (EX_TEMPFAIL of sysexits.h)."""
ERROR_LINE = re.compile(r"(?:\[rank\d+\]: )?error: (.*)")
"""A verb's own last word; one of several processes may have its rank before it."""


class Executor(Protocol):
    """Runs a heavy step somewhere."""

    def run(
        self,
        argv: Sequence[str],
        *,
        log_path: Path,
        is_held: Callable[[], bool] = ...,
        is_cancelled: Callable[[], bool] = ...,
        limit_seconds: float = ...,
        can_stand: bool = ...,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """Run a command to its end and return what it wrote to stdout."""


class LocalExecutor:
    """Runs steps as child processes of this one."""

    def run(
        self,
        argv: Sequence[str],
        *,
        log_path: Path,
        is_held: Callable[[], bool] = lambda: False,
        is_cancelled: Callable[[], bool] = lambda: False,
        limit_seconds: float = math.inf,
        can_stand: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """Run a command to its end, its stderr appended to `log_path`, and return its stdout.

        While `is_held` returns true the child is suspended by a signal. With `can_stand` false, for a child whose work
        is done by processes that the signal does not reach (a training on several GPUs), it is ended instead and run
        again afterwards; it has to resume by itself. Of this process's environment it has what is no secret, and
        `environment` beside it. Raises DriftwheelError with the child's own error line if it
        fails, StorageError if the database or the disk refused it something, ConfigError if it cannot be started,
        TimeLimitError when it has run for longer than the limit, CancelledError when `is_cancelled` says so. Whatever
        ends this call also ends the child's group.
        """
        log_path.parent.mkdir(parents=True, exist_ok=True)
        whole = {**without_secrets(os.environ), **(environment or {})}
        guard = _Guard(is_held, is_cancelled, can_stand, limit_seconds)
        while (output := _attempt(argv, log_path, guard, whole)) is None:
            while is_held():
                if is_cancelled():
                    raise CancelledError(f"{_name(argv)} was cancelled")
                time.sleep(POLL_SECONDS)
        return output


@dataclass(frozen=True)
class _Guard:
    """What may hold or end a child."""

    is_held: Callable[[], bool]
    is_cancelled: Callable[[], bool]
    can_stand: bool
    limit_seconds: float


def _attempt(argv: Sequence[str], log_path: Path, guard: _Guard, environment: dict[str, str]) -> str | None:
    """Return the child's stdout; None if it was ended because it was held."""
    with log_path.open("a", encoding="utf-8") as log, tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        # The log holds earlier attempts; the reason of a failure is looked for in this one's lines.
        offset = log.tell()
        child = _start(argv, output, log, environment)
        try:
            status = _watch(child, guard, f"{_name(argv)} (log: {log_path})")
        finally:
            _stop(child)
        if status is None:
            return None
        if status != 0:
            kind = StorageError if status == TRY_AGAIN else DriftwheelError
            raise kind(f"{_name(argv)} failed: {_reason(log_path, offset, status)} (log: {log_path})")
        output.seek(0)
        return output.read()


def _start(argv: Sequence[str], output: IO[str], log: IO[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=log,
            env=environment,
            # A group of its own, so that a pause or an end reaches what the child starts too.
            start_new_session=True,
            preexec_fn=partial(die_with_parent, signal.SIGKILL),  # nothing trains on unseen
        )
    except OSError as error:
        raise ConfigError(f"cannot start {argv[0]}: {error.strerror}; check that it is installed") from error


def _watch(child: subprocess.Popen[bytes], guard: _Guard, name: str) -> int | None:
    is_standing, ran_seconds, looked_at = False, 0.0, time.monotonic()
    while (status := child.poll()) is None:
        if guard.is_cancelled():
            raise CancelledError(f"{name} was cancelled")
        if guard.is_held() is not is_standing:
            if not guard.can_stand:
                return None
            is_standing = not is_standing
            os.killpg(child.pid, signal.SIGSTOP if is_standing else signal.SIGCONT)
        now = time.monotonic()
        # A child that stands still uses up none of its time.
        ran_seconds, looked_at = ran_seconds + (0.0 if is_standing else now - looked_at), now
        if ran_seconds > guard.limit_seconds:
            raise TimeLimitError(f"{name} was ended: it ran longer than its limit of {guard.limit_seconds:g} s")
        time.sleep(POLL_SECONDS)
    return status


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End what is left of the child's group: politely, then for good."""
    # A child that stands still takes the first signal only when the second lets it go on.
    for number in (signal.SIGTERM, signal.SIGCONT):
        if not _signal(child, number):
            return
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(STOP_SECONDS)
    _signal(child, signal.SIGKILL)
    child.wait()


def _signal(child: subprocess.Popen[bytes], number: int) -> bool:
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        return False
    return True


def _name(argv: Sequence[str]) -> str:
    words = [word for word in argv[2:4] if not word.startswith("-")]
    return " ".join(words) if argv[1:2] == ["-m"] else Path(argv[0]).name


def _reason(log_path: Path, offset: int, status: int) -> str:
    """Return the child's last `error:` line, else its last line, else how it ended."""
    with log_path.open("rb") as file:
        file.seek(offset)
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    errors = [found.group(1) for line in lines if (found := ERROR_LINE.match(line))]
    if status < 0:
        return f"ended by {signal.Signals(-status).name}"
    return errors[0] if errors else lines[-1] if lines else f"exit status {status}"
