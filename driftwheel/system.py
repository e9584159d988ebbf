"""Operating-system services: a lock file that is free once its holder dies, and the free memory."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from driftwheel.errors import ConflictError


@contextmanager
def only_process(path: Path, conflict: str) -> Iterator[None]:
    """Hold the lock file, made with its folder; raises ConflictError with the message if another process has it.

    The kernel lets go of the lock when the process dies, however it dies: there is no stale lock to break.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(conflict) from error
        yield


def available_bytes() -> int:
    """Return the memory that is free or can be freed; 0 where the system does not say."""
    path = Path("/proc/meminfo")
    for line in path.read_text(encoding="ascii").splitlines() if path.is_file() else ():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
