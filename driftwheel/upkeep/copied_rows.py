"""Copies a whole ledger: a SQLite file by SQLite's online backup, a server's rows into such a file, and back.

Both ways give the state of one moment while others write.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from driftwheel.errors import ConflictError, StorageError
from driftwheel.machine.system import sync
from driftwheel.store.database import file_of
from driftwheel.store.ledger import Ledger
from driftwheel.store.sqlite import safe_sqlite_module
from driftwheel.store.tables import metadata

PAGE_ROWS = 1000


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy a SQLite database that may be in use; raises StorageError if the disk or the file refuses."""
    module = safe_sqlite_module()
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with closing(module.connect(str(source))) as reader, closing(module.connect(str(target))) as writer:
            reader.backup(writer)
            # Without side files, so that the copy is one file, and stays as it is when it is looked at.
            writer.execute("PRAGMA journal_mode=DELETE")
        sync(target)
    except (OSError, module.DatabaseError) as error:
        target.unlink(missing_ok=True)
        raise StorageError(f"cannot copy {source} to {target}: {error}; see to the disk, and start again") from error


def copy_ledger(ledger: Ledger, target: Path) -> None:
    """Write the whole ledger into a new SQLite file."""
    source = file_of(ledger.engine)
    if source is not None:
        copy_sqlite(source, target)
        return
    with closing(Ledger(f"sqlite:///{target}", root=target.parent)) as copy:
        _copy_rows(ledger, copy)
        with copy.engine.connect() as connection:
            connection.connection.driver_connection.execute("PRAGMA journal_mode=DELETE")  # type: ignore[union-attr]  # SQLite's own connection, which it is
    sync(target)


def fill_ledger(file: Path, target: Ledger) -> None:
    """Write the rows of a ledger's file into an empty ledger; raises ConflictError if it has rows."""
    with target.read() as connection:
        full = [t.name for t in metadata.sorted_tables if connection.execute(sa.select(t.c.id).limit(1)).first()]
    if full:
        raise ConflictError(f"the ledger at {target.address} has rows ({full[0]}); restore into an empty database")
    with closing(Ledger(f"sqlite:///{file}", root=file.parent)) as source:
        _copy_rows(source, target)


def _copy_rows(source: Ledger, target: Ledger) -> None:
    with _one_moment(source) as reader, target.write() as writer:
        for table in metadata.sorted_tables:
            # As plain columns: what is stored is copied, paths inside the storage folder too, and not what it means.
            plain = sa.table(table.name, *(sa.column(c.name, _plain(c.type)) for c in table.columns))
            found = reader.execution_options(yield_per=PAGE_ROWS).execute(sa.select(*plain.columns))
            for page in found.mappings().partitions(PAGE_ROWS):
                writer.execute(sa.insert(plain), _rows(page))


@contextmanager
def _one_moment(ledger: Ledger) -> Iterator[sa.Connection]:
    """Give a connection to which nothing changes while others write."""
    is_file = file_of(ledger.engine) is not None
    engine = ledger.engine if is_file else ledger.engine.execution_options(isolation_level="REPEATABLE READ")
    with engine.connect() as connection, connection.begin():
        yield connection


def _plain(kind: sa.types.TypeEngine[Any]) -> sa.types.TypeEngine[Any]:
    """Return the type that a column is stored as."""
    return kind.impl_instance if isinstance(kind, sa.types.TypeDecorator) else kind


def _rows(page: Sequence[Any]) -> list[dict[str, object]]:
    return [dict(row) for row in page]
