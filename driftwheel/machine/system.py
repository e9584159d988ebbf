"""Operating-system services: locks and children that die with their process, free ports, durable files, and memory."""

import ctypes
import fcntl
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from driftwheel.errors import ConflictError

PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before a fork: nothing may take a lock after it


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


@contextmanager
def beside_others(path: Path) -> Iterator[None]:
    """Hold the lock file, made with its folder, together with others; blocks while `only_process` has it alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:  # NFS shares a lock only of what is open for reading, and gives it alone for writing
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


@contextmanager
def one_after_another(path: Path) -> Iterator[None]:
    """Hold the lock file, made with its folder; blocks while another process or thread has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def die_with_parent(number: int = signal.SIGTERM) -> None:
    """Ask the kernel to send this process a signal when its parent is gone, were it by SIGKILL; may be a `preexec_fn`.

    The parent is the thread that forks: start such children from a thread that lasts as long as its process.
    """
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, number)


def why_not_listen(host: str, port: int) -> str | None:
    """Return why this process cannot listen at an address, such as another one that does; None where it can."""
    kind = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(kind) as probe:
        # As servers do it: a connection that a dead server left behind is no reason.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return None


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that nothing listens on at an address of this machine."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def sync(path: Path) -> None:
    """Have a file's bytes, or a folder's names, on the disk before anything else is done."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def available_bytes() -> int:
    """Return the memory that is free or can be freed; 0 where the system does not say."""
    path = Path("/proc/meminfo")
    for line in path.read_text(encoding="ascii").splitlines() if path.is_file() else ():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
