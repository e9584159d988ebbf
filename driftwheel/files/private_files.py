"""Keeps what the loop writes from the other users of the machine: new files, and the storage folder with all in it.

Datasets, logs and the ledger hold what users wrote. Where no other user may pass through the folder, none can read a
file in it, whatever its own mode is. A group may: who runs the loop in containers shares its volume by one.
"""

import errno
import os
import stat
from pathlib import Path

import structlog

from driftwheel.errors import ConfigError

OTHERS = 0o007
"""What every user of the machine may do."""
PRIVATE = 0o077
"""Left out of the mode of each file and folder that a process of ours makes."""
log = structlog.get_logger()


def write_privately() -> None:
    """Let this process and its children make files that only their own user can read; a stricter umask stays."""
    os.umask(os.umask(PRIVATE) | PRIVATE)


def keep_private(folder: Path) -> None:
    """Make the storage folder, or close it to the other users of this machine, and say so.

    Raises ConfigError if it belongs to somebody else who left it open.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        mode = stat.S_IMODE(folder.stat().st_mode)
        if not mode & OTHERS or not is_reachable(folder.resolve()):
            return
        folder.chmod(mode & ~OTHERS)
    except PermissionError as error:
        raise ConfigError(
            f"every user of this machine can read {folder}, which holds what users wrote; chmod o-rwx {folder}"
        ) from error
    except OSError as error:
        if error.errno == errno.EROFS and folder.is_dir():
            return  # a mounted copy that is there to be read
        raise ConfigError(f"cannot use the storage folder {folder}: {error.strerror}; set storage.root") from error
    log.warning("every user of this machine could read the storage folder; now they cannot", folder=str(folder))


def is_reachable(path: Path) -> bool:
    """Say whether others may pass through every folder on the way."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in path.parents)
