"""Bulk insert of records of one type in one transaction, at a low cost per row.

On SQLite one statement takes many rows, on a connection that is kept: SQLAlchemy's way to the same rows costs several
times the insert. Column types convert as everywhere, because their own processors are asked. Elsewhere the driver's
round trips are what counts, and `Ledger.add` makes as few.
"""

import os
from collections.abc import Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any

from driftwheel.errors import StorageError
from driftwheel.store.database import file_of
from driftwheel.store.driver_errors import refusal, told
from driftwheel.store.integrity import integrity_error
from driftwheel.store.ledger import Ledger
from driftwheel.store.row_values import checked_values
from driftwheel.store.tables import TABLES, row_of

LARGEST_STATEMENT_ROWS = 64
"""A power of two, as `_pieces` cuts: so at most seven statements are ever prepared."""


class Appender:
    """Inserts records of one type; for one thread."""

    def __init__(self, ledger: Ledger, record_type: type) -> None:
        self._ledger = ledger
        self._names = [f.name for f in fields(record_type)]
        self._values = attrgetter(*self._names)
        columns = TABLES[record_type].c
        processors = [columns[name].type.bind_processor(ledger.engine.dialect) for name in self._names]
        self._processors = [(place, processor) for place, processor in enumerate(processors) if processor is not None]
        self._table = TABLES[record_type]
        self._check = checked_values(self._table, self._names)
        self._statements: dict[int, str] = {}
        self._pooled: Any = None
        self._file: tuple[int, int] | None = None

    def add(self, records: Sequence[Any]) -> None:
        """Insert all of the records or none.

        Raises ConflictError for an id that is taken, RecordError for a value that is missing or cannot be kept,
        StorageError if the database refuses.
        """
        if self._ledger.engine.dialect.name != "sqlite":
            self._ledger.add(*records)
            return
        rows = [self._row(record) for record in records]
        if self._pooled is None:
            self._pooled = self._open()
            self._file = self._file_now()
        self._check_file()
        connection = self._pooled.driver_connection
        cursor, driver = connection.cursor(), self._ledger.engine.dialect.loaded_dbapi
        try:
            cursor.execute("BEGIN IMMEDIATE")
            for start, stop in _pieces(len(records)):
                values = [value for row in rows[start:stop] for value in row]
                cursor.execute(self._statement(stop - start), values)
            cursor.execute("COMMIT")
            # Once more: whoever is told that these rows are kept must find them in the file that others open.
            self._check_file()
        except driver.IntegrityError as error:
            raise integrity_error(error, self._table, [row_of(record) for record in records]) from error
        except driver.DatabaseError as error:
            raise StorageError(f"the ledger at {self._ledger.address} refused a write: {refusal(error)}") from error
        finally:
            connection.rollback()  # which does nothing after a commit

    def _file_now(self) -> tuple[int, int] | None:
        """Return which file has the database's name; None where none has, or where it is in memory."""
        path = file_of(self._ledger.engine)
        if path is None:
            return None
        try:
            found = os.stat(path)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _check_file(self) -> None:
        """Raise StorageError if the database's file was replaced or deleted while it is open.

        SQLite does not notice, and goes on writing into what no other program will ever read.
        """
        if self._file_now() != self._file:
            raise StorageError(
                f"the ledger at {self._ledger.address} was replaced or deleted while it was in use; see that the right "
                "file is there, and restart this program"
            )

    def close(self) -> None:
        """Give the connection back."""
        if self._pooled is not None:
            self._pooled.close()

    def _open(self) -> Any:
        with told(f"cannot open the ledger at {self._ledger.address}"):
            return self._ledger.engine.raw_connection()

    def _row(self, record: Any) -> list[Any]:
        row = list(self._values(record))
        self._check(row)
        for place, processor in self._processors:
            row[place] = processor(row[place])
        return row

    def _statement(self, rows: int) -> str:
        if rows not in self._statements:
            places = f"({', '.join('?' * len(self._names))})"
            self._statements[rows] = (
                f"INSERT INTO {self._table.name} ({', '.join(self._names)}) VALUES {', '.join([places] * rows)}"
            )
        return self._statements[rows]


def _pieces(rows: int) -> list[tuple[int, int]]:
    """Cut a number of rows into powers of two, so that few statements are ever prepared."""
    pieces, start = [], 0
    while start < rows:
        size = min(LARGEST_STATEMENT_ROWS, 1 << ((rows - start).bit_length() - 1))
        pieces.append((start, start + size))
        start += size
    return pieces
