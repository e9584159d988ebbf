"""What a key has used of its limits: kept by this process alone, or in a file that gateways of one port share.

The file is memory of all of them; a lock that the kernel gives up for a process that dies makes each change whole.
Moments are of the machine's one monotonic clock, and begin anew with it, as the file's folder does.
"""

import contextlib
import fcntl
import hashlib
import math
import mmap
import os
import weakref
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Union

from driftwheel.machine.system import only_process
from driftwheel.settings.serving import ServeSettings

REQUESTS, TOKENS, IN_FLIGHT = 0, 2, 4
"""Places of the numbers: level and moment of each bucket, then the requests in flight of each process."""
MOST_PROCESSES = 64
FRESH = (0.0, -math.inf, 0.0, -math.inf, *([0.0] * MOST_PROCESSES))

Numbers = Union["array[float]", "memoryview[float]"]


class Counts:
    """The numbers of one key in one process."""

    def __init__(self) -> None:
        self.numbers: Numbers = array("d", FRESH)
        self._slot = IN_FLIGHT

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep every other process out for the block."""
        yield

    def in_flight(self) -> int:
        """Return the requests in flight, of all processes."""
        return int(sum(self.numbers[IN_FLIGHT : IN_FLIGHT + MOST_PROCESSES]))

    def add_in_flight(self, change: int) -> None:
        """Count a request of this process that begins or ends."""
        self.numbers[self._slot] += change

    def forget_dead(self) -> None:
        """Count nothing any more of processes that died."""


class SharedCounts(Counts):
    """The same numbers for all processes that have the file."""

    def __init__(self, folder: Path, key_id: str, process: int) -> None:
        self._folder, self._slot = folder, IN_FLIGHT + process
        path = folder / hashlib.sha256(key_id.encode()).hexdigest()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        weakref.finalize(self, os.close, self._file)
        with self.lock():
            if os.fstat(self._file).st_size == 0:
                os.write(self._file, array("d", FRESH).tobytes())
            self.numbers = memoryview(mmap.mmap(self._file, len(FRESH) * 8)).cast("d")
            self.numbers[self._slot] = 0.0  # what this place's last process left behind

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep every other process out for the block."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def forget_dead(self) -> None:
        """Count nothing any more of processes that died."""
        for process in range(MOST_PROCESSES):
            place = IN_FLIGHT + process
            if place != self._slot and self.numbers[place] and not _is_held(lock_path(self._folder, process)):
                self.numbers[place] = 0.0


def lock_path(folder: Path, process: int) -> Path:
    """Return the file that a process holds for as long as it lives."""
    return folder / f"process-{process}.lock"


def _is_held(path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def counting(serve: ServeSettings, root: Path) -> Iterator[Callable[[str], Counts]]:
    """Give what counts the use of a key, by its id, for as long as this process serves.

    Raises ConflictError if another gateway has this one's place at the shared port.
    """
    if serve.shared_port is None:
        yield lambda key_id: Counts()
        return
    folder = root / f"port-{serve.shared_port}" / _boot()
    process = serve.port - serve.shared_port
    with only_process(lock_path(folder, process), f"another gateway has port {serve.port} and its place; stop it"):
        # One for each key for good: what a request counted in must be what it counts out of, also if a limit changes.
        yield cache(lambda key_id: SharedCounts(folder, key_id, process))


def _boot() -> str:
    """Return what differs after each start of the machine, whose clock then begins anew."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text(encoding="ascii").strip() if path.is_file() else "boot"
