"""What lies in the storage folder: what a backup takes, and what can be made again."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from driftwheel.machine.system import beside_others, only_process, sync

UPKEEP, MAKING = LOCKS = "upkeep.lock", "making.lock"
LEDGER = "ledger.db"
DATABASES = ("worker.db", "tune.db", LEDGER)
"""SQLite files, in the order in which a backup copies them: a step that the ledger knows and the worker does not is
found finished when it is run again."""
LOGS = "logs"
ENVIRONMENT_MARK = "pyvenv.cfg"
"""In the folder of a virtual environment, which names absolute paths and is made anew elsewhere."""


def only_upkeep(root: Path) -> AbstractContextManager[None]:
    """Hold the storage folder's lock of upkeep, so that nothing is deleted while it is copied; raises ConflictError."""
    return only_process(root / UPKEEP, f"another backup, restore or gc runs on {root}; wait for its end")


def making(root: Path) -> AbstractContextManager[None]:
    """Hold the lock of who makes files by hand, beside others who do.

    Until its row is in the ledger nothing there names what is being made of a run, and it would seem a leftover.
    """
    return beside_others(root / MAKING)


def only_if_nobody_makes(root: Path) -> AbstractContextManager[None]:
    """Hold the lock of who makes files alone; raises ConflictError while somebody makes files."""
    message = f"a verb such as `publish` or `data build` makes files in {root} now; run it again when it has ended"
    return only_process(root / MAKING, message)


def files_to_keep(root: Path) -> Iterator[Path]:
    """Give the files that a backup takes: neither databases, which are copied otherwise, nor logs nor environments."""
    for path in sorted(root.iterdir()):
        if path.is_dir() and path.name != LOGS and not path.name.startswith("."):
            if not (path / ENVIRONMENT_MARK).is_file():
                yield from _whole_files(path)
        elif path.is_file() and not path.name.startswith(".") and not _is_of_a_process(path):
            yield path


def _whole_files(folder: Path) -> Iterator[Path]:
    """Give the files below a folder, those of folders that lie on another disk too, but none that is being written."""
    seen = set[str]()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else sorted(name for name in folders if not is_partial(name))
        if real not in seen:
            yield from (
                Path(place, name) for name in sorted(files) if not is_partial(name) and Path(place, name).is_file()
            )
        seen.add(real)


_PARTIAL = re.compile(r"\..+\.(\d+(-\d+)?|fetching|lock)")


def is_partial(name: str) -> bool:
    """Say whether a file or folder is being written, or a lock: it gets its name when it is whole.

    Any other name that begins with a dot is one of an artifact's, such as `.gitattributes`, and its manifest names it.
    """
    return _PARTIAL.fullmatch(name) is not None


def copy_file(source: Path, target: Path) -> bool:
    """Copy a file durably; false if it is gone, as the checkpoints of a run that trains are replaced."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(source, target)
    except FileNotFoundError:
        target.unlink(missing_ok=True)
        return False
    sync(target)
    return True


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    if not path.is_dir():
        return path.stat().st_size
    return sum(found.stat().st_size for found in path.rglob("*") if found.is_file() and not found.is_symlink())


def _is_of_a_process(path: Path) -> bool:
    """Say whether a file is a database, its side file or copy, or a lock."""
    is_lock = path.suffix in (".lock", ".db", ".db-wal", ".db-shm")
    return is_lock or any(path.name.startswith(name) for name in DATABASES)
