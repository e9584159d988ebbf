"""Opens a database URL with SQLAlchemy: SQLite or PostgreSQL, set up so that committed rows survive a crash."""

import importlib.util
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.pool import QueuePool

from driftwheel.errors import ConfigError, StorageError
from driftwheel.store.driver_errors import is_bug, refusal
from driftwheel.store.sqlite import safe_sqlite_module
from driftwheel.store.tables import STORAGE_ROOTS

CONNECT_SECONDS = 5
"""A host that is gone is named after this long, instead of after the minutes that the system would wait."""
SQLITE = "sqlite"
BUSY_MILLISECONDS = 30_000
"""How long a write waits for those of other processes; a batch of rows takes milliseconds, an upgrade seconds."""


def with_driver(url: str) -> str:
    """Return a database URL that names the driver which the extra `postgres` installs."""
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


def connect(url: str, sqlite_module: ModuleType | None = None, root: Path | None = None) -> sa.Engine:
    """Return the engine of a database; a SQLite file that is not there is made, empty.

    A transaction begins as a writing one where the connection's option `is_write` is set. `root` is the storage folder;
    that of a SQLite file is its own where none is given.
    """
    _check_kind(url)
    engine = _connect_sqlite(url, sqlite_module) if url.startswith(SQLITE) else _connect_server(url)
    file = file_of(engine)
    root = root or (file.parent.absolute() if file is not None else None)
    if root is not None:
        STORAGE_ROOTS[engine.dialect] = root
    return engine


@contextmanager
def named_errors(url: str) -> Iterator[str]:
    """Give the database's name for messages, without its password, while it is opened.

    Raises ConfigError for an unusable URL, StorageError if the database refuses.
    """
    address = (
        f"***{url[url.rindex('@') :]}" if "@" in url else url
    )  # before it is understood, anything may be a password
    try:
        address = sa.make_url(url).render_as_string(hide_password=True)
    except (sa.exc.ArgumentError, ValueError) as error:  # ValueError of a port that is no number
        raise ConfigError(
            f"storage.database_url {address!r} is not a database URL; it looks like postgresql://USER@HOST:5432/NAME, "
            "or sqlite:///FILE"
        ) from error
    try:
        yield address
    except sa.exc.DatabaseError as error:
        if is_bug(error):
            raise
        raise StorageError(f"cannot open the ledger at {address}: {refusal(error.orig or error)}") from error


def file_of(engine: sa.Engine) -> Path | None:
    """Return the file of a SQLite database; None for a server, or for a database in memory."""
    path = engine.url.database
    return Path(path) if engine.dialect.name == SQLITE and path and path != ":memory:" else None


def is_only_read(engine: sa.Engine) -> bool:
    """Say whether this process may only read a database: the file of SQLite, or the folder of its side files."""
    path = file_of(engine)
    return path is not None and _is_only_read(path)


def _is_only_read(path: Path) -> bool:
    return path.exists() and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))


def driver_connection(connection: sa.Connection) -> Any:
    """Return the driver's connection, for statements that SQLite refuses inside a transaction."""
    return connection.connection.driver_connection


def wait_for_turn(connection: sa.Connection, key: int) -> None:
    """Hold one of PostgreSQL's locks until the transaction ends; on SQLite only one transaction writes anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))


def _check_kind(url: str) -> None:
    """Raise ConfigError for another kind of database than the two that there are, or where its driver is missing."""
    name = sa.make_url(with_driver(url)).drivername
    kind, _, driver = name.partition("+")
    if kind == "postgres":
        raise ConfigError("storage.database_url begins with postgres://; say postgresql://")
    if kind not in (SQLITE, "postgresql"):
        raise ConfigError(
            f"storage.database_url names a {kind} database; driftwheel keeps its ledger in sqlite or postgresql"
        )
    if driver not in ("", "psycopg", "pysqlite"):
        raise ConfigError(f"storage.database_url names the driver {driver}; leave it out: {kind}://...")
    if kind == "postgresql" and importlib.util.find_spec("psycopg") is None:
        raise ConfigError("PostgreSQL needs the extra `postgres`: pip install -e '.[postgres]'")


def _connect_server(url: str) -> sa.Engine:
    # A server that does not answer is an error within seconds, so that no answer waits for its row for ever.
    options = {"connect_timeout": CONNECT_SECONDS, "keepalives_idle": 10, "tcp_user_timeout": 15_000}
    return sa.create_engine(with_driver(url), pool_pre_ping=True, hide_parameters=True, connect_args=options)


def _connect_sqlite(url: str, sqlite_module: ModuleType | None) -> sa.Engine:
    path = sa.make_url(url).database
    if path and path != ":memory:":
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        # It will hold what users wrote; SQLite gives its side files the same mode.
        with suppress(OSError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
    module = sqlite_module or safe_sqlite_module()
    only_read = Path(path) if path and path != ":memory:" and _is_only_read(Path(path)) else None
    engine = sa.create_engine(
        url,
        module=module,
        poolclass=QueuePool if only_read is None else sa.NullPool,
        hide_parameters=True,
        connect_args={"check_same_thread": False, "timeout": BUSY_MILLISECONDS / 1000, "isolation_level": None},
    )

    @sa.event.listens_for(engine, "connect")
    def set_up(connection: Any, _: Any) -> None:
        for pragma in ("synchronous=FULL", f"busy_timeout={BUSY_MILLISECONDS}", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    if only_read is not None:
        _let_only_read(engine, module, only_read.absolute())

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        is_write = connection.get_execution_options().get("is_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")

    return engine


def _let_only_read(engine: sa.Engine, module: ModuleType, path: Path) -> None:
    """Let an engine read a file that it may not write, in which a write is an error.

    SQLite wants to make a log of writes beside the file even to read it. Where there is none nobody has the file open,
    and it is read as it stands. Each transaction asks anew (it has no pool): a program that may write can begin at any
    time.
    """

    @sa.event.listens_for(engine, "do_connect")
    def open_to_read(_: Any, __: Any, ___: Any, options: Mapping[str, Any]) -> Any:
        has_log = path.with_name(f"{path.name}-wal").exists()
        mode = "mode=ro" if has_log else "mode=ro&immutable=1"
        return module.connect(f"file:{quote(str(path))}?{mode}", uri=True, **options)
