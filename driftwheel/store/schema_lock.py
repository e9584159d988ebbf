"""The lock under which one program at a time changes a database's schema, and what else it waits for meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from driftwheel.store.database import BUSY_MILLISECONDS, SQLITE, driver_connection, wait_for_turn
from driftwheel.store.tables import metadata

SCHEMA_LOCK = 0x6472696674
"""Key of PostgreSQL's advisory lock under which tables are made and changed."""
UPGRADE_MILLISECONDS = 600_000
"""How long one program waits while another upgrades the database; a SQLite file is copied first."""
TABLE_MILLISECONDS = 30_000
"""How long an upgrade waits on PostgreSQL for the transactions of others that have read one of its tables. While it
waits, everybody who wants the table waits behind it, so that it does not wait for ever."""
LOCK_NOT_AVAILABLE = "55P03"
_ENDED = "a session that has ended by now held a lock: try again"
_HOLDERS = sa.text(
    """SELECT DISTINCT a.pid, a.application_name, a.usename, a.state, a.xact_start
    FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid LEFT JOIN pg_class AS c ON c.oid = l.relation
    WHERE l.granted AND a.datname = current_database() AND a.pid <> pg_backend_pid()
    AND (c.relname IN :tables OR l.locktype = 'advisory' AND l.classid = :high AND l.objid = :low)
    ORDER BY a.xact_start, a.pid LIMIT 1"""
).bindparams(sa.bindparam("tables", expanding=True))


@contextmanager
def locked(engine: sa.Engine, table_milliseconds: int = TABLE_MILLISECONDS) -> Iterator[sa.Connection]:
    """Give the only transaction that may change tables."""
    with engine.connect() as connection:
        if engine.dialect.name != SQLITE:
            with connection.begin():
                _wait_at_most(connection, UPGRADE_MILLISECONDS)
                wait_for_turn(connection, SCHEMA_LOCK)
                _wait_at_most(connection, table_milliseconds)
                yield connection
            return
        raw = driver_connection(connection)
        # A table that is copied and dropped must not take the rows with it that refer to it, and a view of a user's on
        # it does not stand in the way (legacy). SQLite does not change the first inside a transaction.
        raw.execute("PRAGMA foreign_keys=OFF")
        raw.execute("PRAGMA legacy_alter_table=ON")
        raw.execute(f"PRAGMA busy_timeout={UPGRADE_MILLISECONDS}")
        try:
            with connection.execution_options(is_write=True).begin():
                yield connection
        finally:
            raw.execute("PRAGMA foreign_keys=ON")
            raw.execute("PRAGMA legacy_alter_table=OFF")
            raw.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")


def _wait_at_most(connection: sa.Connection, milliseconds: int) -> None:
    connection.execute(sa.select(sa.func.set_config("lock_timeout", f"{milliseconds}ms", True)))


def in_the_way(engine: sa.Engine) -> str:
    """Say which session holds a lock on a PostgreSQL ledger's tables, the one with the oldest transaction."""
    names = {"tables": list(metadata.tables), "high": SCHEMA_LOCK >> 32, "low": SCHEMA_LOCK & 0xFFFFFFFF}
    with engine.connect() as connection:
        found = connection.execute(_HOLDERS, names).mappings().first()
    if found is None:
        return _ENDED
    since = f" since {found['xact_start']:%Y-%m-%d %H:%M:%S %Z}" if found["xact_start"] else ""
    program = found["application_name"] or "a program without a name"
    return (
        f"session {found['pid']} ({program}, user {found['usename']}, {found['state']}{since}) holds a lock on its "
        f"tables; stop that program, or `SELECT pg_terminate_backend({found['pid']})`, and try again"
    )
