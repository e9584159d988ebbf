"""The SQLite builds that do not lose committed rows."""

import sqlite3
import typing
from types import ModuleType

from driftwheel.errors import ConfigError

SAFE_SQLITE = (3, 51, 3)


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
