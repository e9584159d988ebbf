"""Schema migrations: finds the revision of a database, and upgrades it to the newest.

A row in the table `driftwheel_revision` holds the number. An empty database gets the newest tables at once; an older
one runs the revisions that it lacks, in one transaction, so that it is upgraded whole or not at all.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import sqlalchemy as sa
import structlog

from driftwheel.errors import SchemaError, StorageError
from driftwheel.store.added_objects import carry_over, objects_of
from driftwheel.store.database import (
    BUSY_MILLISECONDS,
    SQLITE,
    connect,
    driver_connection,
    file_of,
    is_only_read,
    named_errors,
)
from driftwheel.store.driver_errors import refusal
from driftwheel.store.schema_lock import LOCK_NOT_AVAILABLE, TABLE_MILLISECONDS, in_the_way, locked
from driftwheel.store.sqlite import copied
from driftwheel.store.tables import STORAGE_ROOTS, metadata

REVISIONS = Path(__file__).parent / "revisions"
WAL_RETRY_SECONDS = 0.02
FIRST_TABLES = {"dataset", "run", "version", "deployment", "req", "signal", "decision", "alias", "step", "switch"}
"""The tables of the oldest databases there are; a database with all of them and no revision row is adopted."""
_VERSION_TABLE = sa.Table(
    "driftwheel_revision", sa.MetaData(), sa.Column("version_num", sa.String(32), primary_key=True)
)
"""As Alembic makes it. It has a name of its own because Optuna keeps an `alembic_version` in the same server."""
log = structlog.get_logger()


class Standing(StrEnum):
    EMPTY = "empty"  # no tables yet
    UNNUMBERED = "unnumbered"  # tables of a driftwheel from before revisions were numbered
    OLDER = "older"  # revisions are due
    CURRENT = "current"
    NEWER = "newer"  # made by a newer driftwheel
    FOREIGN = "foreign"  # tables of another program


@dataclass(frozen=True, kw_only=True)
class SchemaStatus:
    """Where a database stands among the revisions."""

    standing: Standing
    revision: int
    """0 where the database has no number."""
    newest: int
    """The newest revision that this driftwheel knows."""


@dataclass(frozen=True, kw_only=True)
class Upgrade:
    """What an upgrade did."""

    before: SchemaStatus
    after: SchemaStatus
    backup_path: Path | None = None
    """The copy that was made of a SQLite file before it was changed."""


@cache
def newest_revision() -> int:
    """Return the number of the newest revision, from the names of their files."""
    return max(int(path.name[:4]) for path in REVISIONS.glob("[0-9][0-9][0-9][0-9]_*.py"))


def status_of(connection: sa.Connection) -> SchemaStatus:
    """Say where a database stands; changes nothing."""
    tables = set(sa.inspect(connection).get_table_names())
    text = connection.execute(sa.select(_VERSION_TABLE)).scalar() if _VERSION_TABLE.name in tables else None
    newest = newest_revision()
    if text is not None:
        # A number that is none cannot be an older one: those are all known here.
        revision = int(text) if text.isdecimal() else newest + 1
        standing = Standing.CURRENT if revision == newest else Standing.OLDER
        return SchemaStatus(
            standing=Standing.NEWER if revision > newest else standing, revision=revision, newest=newest
        )
    if tables >= FIRST_TABLES:
        standing = Standing.UNNUMBERED
    else:
        standing = Standing.FOREIGN if tables - {_VERSION_TABLE.name} else Standing.EMPTY
    return SchemaStatus(standing=standing, revision=0, newest=newest)


def look_at(url: str) -> tuple[str, SchemaStatus, list[str]]:
    """Return a database's name for messages, where it stands, and how a current one differs from the records.

    Changes nothing, and makes no file. Raises ConfigError for an unusable URL, StorageError if the database refuses.
    """
    with named_errors(url) as address:
        path = sa.make_url(url).database
        if url.startswith(SQLITE) and not Path(path or "").exists():
            return address, SchemaStatus(standing=Standing.EMPTY, revision=0, newest=newest_revision()), []
        with _disposing(connect(url)) as engine, engine.connect() as connection:
            status = status_of(connection)
            return address, status, differences(connection) if status.standing is Standing.CURRENT else []


def upgrade_database(url: str, root: Path) -> tuple[str, Upgrade | None]:
    """Upgrade the database at a URL; return its name for messages, and what was done, None where nothing was due."""
    with named_errors(url) as address, _disposing(connect(url, root=root)) as engine:
        return address, bring_up_to_date(engine, address)


def bring_up_to_date(engine: sa.Engine, address: str, table_milliseconds: int = TABLE_MILLISECONDS) -> Upgrade | None:
    """Make the newest tables in an empty database, or upgrade an older one; return None where nothing was due.

    Of several programs that open one database one does it, the others wait. `address` is the database's name in
    messages. Raises SchemaError for a database of a newer driftwheel or of another program, StorageError if the
    database or the disk refuses, or another session holds the tables; then the database is as it was.
    """
    if _is_current(engine):
        _use_wal(engine, address)
        return None
    with engine.connect() as connection:
        before = status_of(connection)
        connection.rollback()
    _refuse(before, address)
    if is_only_read(engine):
        raise StorageError(
            f"cannot open the ledger at {address}: it is readonly here, and of revision {before.revision} where this "
            f"driftwheel reads {before.newest}; run `driftwheel db upgrade` where it may be written"
        )
    _use_wal(engine, address)
    try:
        done = _upgrade_locked(engine, address, table_milliseconds)
    except (sa.exc.SQLAlchemyError, engine.dialect.loaded_dbapi.Error, OSError) as error:
        raise _upgrade_error(engine, address, before, error) from error
    if done is not None and done.before.standing is not Standing.EMPTY:
        backup = None if done.backup_path is None else str(done.backup_path)
        log.info("ledger upgraded", ledger=address, old=done.before.revision, new=done.after.revision, backup=backup)
    return done


def _upgrade_locked(engine: sa.Engine, address: str, table_milliseconds: int) -> Upgrade | None:
    with ExitStack() as on_failure:
        with locked(engine, table_milliseconds) as connection:
            before = status_of(connection)  # again, now that nobody else can change it
            _refuse(before, address)
            if before.standing is Standing.CURRENT:
                return None
            backup_path = _upgrade(engine, connection, before)
            if backup_path is not None:
                on_failure.callback(backup_path.unlink, missing_ok=True)
            after = status_of(connection)
        on_failure.pop_all()
    return Upgrade(before=before, after=after, backup_path=backup_path)


def _upgrade_error(engine: sa.Engine, address: str, before: SchemaStatus, error: Exception) -> StorageError:
    origin = getattr(error, "orig", error)
    begun = f"cannot bring the ledger at {address} from revision {before.revision} to {before.newest}: "
    if getattr(origin, "sqlstate", None) == LOCK_NOT_AVAILABLE:
        return StorageError(f"{begun}{in_the_way(engine)}; nothing was changed")
    return StorageError(f"{begun}{refusal(origin)}; nothing was changed")


@contextmanager
def _disposing(engine: sa.Engine) -> Iterator[sa.Engine]:
    """Close an engine's connections in the end."""
    try:
        yield engine
    finally:
        engine.dispose()


def _is_current(engine: sa.Engine) -> bool:
    """Ask for the number alone, which is all that most openings cost."""
    try:
        with engine.connect() as connection:
            return connection.execute(sa.select(_VERSION_TABLE)).scalar() == str(newest_revision())
    except (sa.exc.OperationalError, sa.exc.ProgrammingError):
        return False  # no such table, most likely; whoever asks next gets the error if it is another one


def _refuse(status: SchemaStatus, address: str) -> None:
    if status.standing is Standing.NEWER:
        raise SchemaError(
            f"the ledger at {address} was made by a newer driftwheel: it is at revision {status.revision}, this one "
            f"knows {status.newest}; upgrade driftwheel"
        )
    if status.standing is Standing.FOREIGN:
        raise SchemaError(
            f"the database at {address} holds the tables of another program; give storage.database_url an empty one"
        )


def _use_wal(engine: sa.Engine, address: str) -> None:
    """Let readers and a writer of a SQLite file work at once; asked for only when the file is known to be ours."""
    if engine.dialect.name != SQLITE or is_only_read(engine):
        return
    try:
        with engine.connect() as connection:
            _switch_to_wal(driver_connection(connection), engine.dialect.loaded_dbapi.OperationalError)
    except engine.dialect.loaded_dbapi.Error as error:
        raise StorageError(f"cannot open the ledger at {address}: {refusal(error)}") from error


def _switch_to_wal(connection: Any, refused: type[Exception]) -> None:
    # SQLite's own busy time does not hold here: beside another program that opens the file, the switch fails at once.
    ends_at = time.monotonic() + BUSY_MILLISECONDS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except refused as error:
            if "locked" not in str(error) or time.monotonic() > ends_at:
                raise
        else:
            return
        time.sleep(WAL_RETRY_SECONDS)


def _upgrade(engine: sa.Engine, connection: sa.Connection, before: SchemaStatus) -> Path | None:
    """Bring a database up to date while this program holds the lock; return the copy of a SQLite file as it was."""
    if before.standing is Standing.EMPTY:
        # A test holds these tables and those of the revisions together; this way costs a tenth of the time.
        metadata.create_all(connection)
        _VERSION_TABLE.create(connection, checkfirst=True)
        connection.execute(_VERSION_TABLE.insert().values(version_num=str(before.newest)))
        return None
    path = file_of(engine)
    if path is None:
        run_revisions(connection)
        return None
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    target = path.with_name(f"{path.name}.revision-{before.revision}.{stamp}")
    added = objects_of(connection)
    with copied(cast(ModuleType, engine.dialect.loaded_dbapi), path, target):
        run_revisions(connection)
        carry_over(connection, added)
    return target


def run_revisions(connection: sa.Connection) -> None:
    """Run the revisions that a database lacks, inside the caller's transaction."""
    # Alembic takes nearly as long to import as SQLAlchemy itself (0.36 s), and few starts of a program need it.
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(REVISIONS, version_locations=[REVISIONS])
    destination = str(newest_revision())
    options = {
        # Alembic has no public name for it: its own `upgrade` calls this too, and wants an alembic.ini and an env.py
        # besides (1.20, the oldest that pyproject.toml lets in).
        "fn": lambda revision, _: scripts._upgrade_revs(destination, revision),
        "script": scripts,
        "version_table": _VERSION_TABLE.name,
        "storage_root": STORAGE_ROOTS.get(connection.dialect),
    }
    context = MigrationContext.configure(connection, opts=options)
    with Operations.context(context):
        context.run_migrations()


def differences(connection: sa.Connection, *, with_foreign_tables: bool = False) -> list[str]:
    """Return how a database's tables, columns, types, indexes and references differ from those of the records.

    Tables that no record has count only `with_foreign_tables`: a server may hold those of other programs.
    """
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    def is_asked_for(name: str | None, kind: str, _: object) -> bool:
        return kind != "table" or with_foreign_tables or name in metadata.tables

    options: dict[str, Any] = {"version_table": _VERSION_TABLE.name, "include_name": is_asked_for}
    return [
        str(difference)
        for difference in compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
    ]
