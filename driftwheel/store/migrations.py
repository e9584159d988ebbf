"""Schema migrations: finds the revision of a database, and upgrades it to the newest.

A row in the table `driftwheel_revision` holds the number. An empty database gets the newest tables at once; an older
one runs the revisions that it lacks, in one transaction, so that it is upgraded whole or not at all.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import sqlalchemy as sa
import structlog

from driftwheel.errors import SchemaError, StorageError
from driftwheel.store.database import BUSY_MILLISECONDS, SQLITE, connect, file_of, named_errors, wait_for_turn
from driftwheel.store.sqlite import copy_database
from driftwheel.store.tables import STORAGE_ROOTS, metadata

REVISIONS = Path(__file__).parent / "revisions"
SCHEMA_LOCK = 0x6472696674
"""Key of PostgreSQL's advisory lock under which tables are made and changed."""
UPGRADE_MILLISECONDS = 600_000
"""How long one program waits while another upgrades a SQLite file, which is copied first."""
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


def bring_up_to_date(engine: sa.Engine, address: str) -> Upgrade | None:
    """Make the newest tables in an empty database, or upgrade an older one; return None where nothing was due.

    Of several programs that open one database one does it, the others wait. `address` is the database's name in
    messages. Raises SchemaError for a database of a newer driftwheel or of another program, StorageError if the
    database or the disk refuses; then the database is as it was.
    """
    if _is_current(engine):
        _use_wal(engine, address)
        return None
    with engine.connect() as connection:
        before = status_of(connection)
        connection.rollback()
    _refuse(before, address)
    _use_wal(engine, address)
    try:
        with _locked(engine) as connection:
            before = status_of(connection)  # again, now that nobody else can change it
            _refuse(before, address)
            if before.standing is Standing.CURRENT:
                return None
            backup_path = _upgrade(engine, connection, before)
            after = status_of(connection)
    except (sa.exc.SQLAlchemyError, engine.dialect.loaded_dbapi.Error, OSError) as error:
        raise StorageError(
            f"cannot bring the ledger at {address} from revision {before.revision} to {before.newest}: "
            f"{getattr(error, 'orig', error)}; nothing was changed: check its rights and the disk's free space"
        ) from error
    if before.standing is not Standing.EMPTY:
        backup = None if backup_path is None else str(backup_path)
        log.info("ledger upgraded", ledger=address, old=before.revision, new=after.revision, backup=backup)
    return Upgrade(before=before, after=after, backup_path=backup_path)


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
    if engine.dialect.name != SQLITE:
        return
    try:
        with engine.connect() as connection:
            _switch_to_wal(_raw(connection), engine.dialect.loaded_dbapi.OperationalError)
    except engine.dialect.loaded_dbapi.Error as error:
        raise StorageError(f"cannot open the ledger at {address}: {error}; check the path and its rights") from error


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


def _raw(connection: sa.Connection) -> Any:
    """Return the driver's connection, for statements that SQLite refuses inside a transaction."""
    return connection.connection.driver_connection


@contextmanager
def _locked(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Give the only transaction that may change tables."""
    with engine.connect() as connection:
        if engine.dialect.name != SQLITE:
            with connection.begin():
                wait_for_turn(connection, SCHEMA_LOCK)
                yield connection
            return
        raw = _raw(connection)
        # A table that is copied and dropped must not take the rows with it that refer to it. SQLite does not change
        # this inside a transaction.
        raw.execute("PRAGMA foreign_keys=OFF")
        raw.execute(f"PRAGMA busy_timeout={UPGRADE_MILLISECONDS}")
        try:
            with connection.execution_options(is_write=True).begin():
                yield connection
        finally:
            raw.execute("PRAGMA foreign_keys=ON")
            raw.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")


def _upgrade(engine: sa.Engine, connection: sa.Connection, before: SchemaStatus) -> Path | None:
    if before.standing is Standing.EMPTY:
        # A test holds these tables and those of the revisions together; this way costs a tenth of the time.
        metadata.create_all(connection)
        _VERSION_TABLE.create(connection, checkfirst=True)
        connection.execute(_VERSION_TABLE.insert().values(version_num=str(before.newest)))
        return None
    backup_path = _back_up(engine, before.revision)
    run_revisions(connection)
    return backup_path


def _back_up(engine: sa.Engine, revision: int) -> Path | None:
    """Copy a SQLite file beside itself, while this program holds the lock, so that the copy is what it was before."""
    path = file_of(engine)
    if path is None:
        return None
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    target = path.with_name(f"{path.name}.revision-{revision}.{stamp}")
    copy_database(cast(ModuleType, engine.dialect.loaded_dbapi), path, target)
    return target


def run_revisions(connection: sa.Connection, target: int | None = None) -> None:
    """Run the revisions that a database lacks, up to `target` or all, inside the caller's transaction."""
    # Alembic takes nearly as long to import as SQLAlchemy itself (0.36 s), and few starts of a program need it.
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(REVISIONS, version_locations=[REVISIONS])
    destination = str(target or newest_revision())
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
