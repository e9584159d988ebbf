"""Chooses an SQLite build without the WAL-reset bug, and copies SQLite databases."""

import glob
import os
import sqlite3
import typing
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import ModuleType

from driftwheel.errors import ConfigError
from driftwheel.machine.system import sync

SAFE_SQLITE = (3, 51, 3)
"""Older builds can lose committed rows when several connections write and checkpoint (the WAL-reset bug)."""


def safe_sqlite_module() -> ModuleType:
    """Return a DB-API module whose SQLite does not have the WAL-reset bug.

    Raises ConfigError if neither Python's own nor pysqlite3's is new enough.
    """
    if sqlite3.sqlite_version_info >= SAFE_SQLITE:
        return sqlite3
    try:
        import pysqlite3
    except ImportError:
        pysqlite3 = None
    if pysqlite3 is not None and pysqlite3.sqlite_version_info >= SAFE_SQLITE:
        return typing.cast(ModuleType, pysqlite3)
    raise ConfigError(
        f"SQLite {sqlite3.sqlite_version} can lose committed rows (WAL-reset bug); "
        "install pysqlite3>=0.6.1, or set storage.database_url to a PostgreSQL server"
    )


@contextmanager
def copied(module: ModuleType, source: Path, target: Path) -> Iterator[None]:
    """Copy a SQLite database that may be in use: `target` is the whole state of one moment, mode 0600, or not there.

    It gets its name when the block has ended without an error. What a killed program left of such a copy is deleted:
    one program at a time may do this. Raises OSError or the module's DatabaseError where the disk refuses.
    """
    aside = source.with_name(f".{source.name}.partial")
    _delete_partial_copies(source)
    try:
        os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with closing(module.connect(str(source))) as reader, closing(module.connect(str(aside))) as writer:
            reader.backup(writer)
        sync(aside)
        yield
        aside.replace(target)
        sync(target.parent)
    finally:
        _delete_partial_copies(source)


def _delete_partial_copies(source: Path) -> None:
    """Delete them with their journals: SQLite would play an old journal back into a new copy of that name."""
    # Copies had the revision and the time in their name before there was one name for all.
    for pattern in (".partial*", ".revision-*.partial*"):
        for leftover in source.parent.glob(f".{glob.escape(source.name)}{pattern}"):
            leftover.unlink(missing_ok=True)
