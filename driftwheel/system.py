"""A file becomes a lock that one process holds, and that the system lets go of when the process dies."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from driftwheel.errors import ConflictError


@contextmanager
def only_process(path: Path, conflict: str) -> Iterator[None]:
    """Hold the lock file, made with its folder; raises ConflictError with the message if another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(conflict) from error
        yield
