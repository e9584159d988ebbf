"""Translates a database's integrity errors: duplicate id, missing value, or reference to a missing record."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from driftwheel.errors import ConflictError, DriftwheelError, RecordError

SQLSTATES = {"23505": "UNIQUE", "23502": "NOT NULL", "23503": "FOREIGN KEY"}
"""PostgreSQL's numbers for what SQLite says in words."""
Row = Mapping[str, Any]


class Breach(StrEnum):
    DUPLICATE = "UNIQUE"
    MISSING = "NOT NULL"
    REFERENCE = "FOREIGN KEY"


def integrity_error(
    error: BaseException, table: sa.Table, rows: Sequence[Row], connection: sa.Connection | None = None
) -> DriftwheelError:
    """Return the error to raise for rows that the driver's IntegrityError refused; it names ids, and no texts.

    A row is a mapping of columns to values that has the id. The connection is the one that was refused; it lets the
    right one of several rows be named.
    """
    breach, ids = _breach(error), [str(row["id"]) for row in rows]
    named = ids[0] if len(ids) == 1 else f"one of {ids[0]} and the {len(ids) - 1} records with it"
    if breach is Breach.DUPLICATE:
        return _duplicate(error, table, rows, connection, named)
    if breach is Breach.MISSING:
        for row in rows:
            lacking = [c.name for c in table.columns if not c.nullable and c.name in row and row[c.name] is None]
            if lacking:
                return RecordError(f"{row['id']} has no value for {table.name}.{lacking[0]}; nothing was written")
        return RecordError(f"{named} has no value for {_column(error, table)}; nothing was written")
    if breach is Breach.REFERENCE:
        found = _dangling(error, table, rows, connection)
        if found:
            named = str(found[0][0]["id"])
        told = ", ".join(f"{table.name}.{name} {row[name]!r}" for row, name in found if row is found[0][0])
        told = told or ", ".join(sorted(f"{table.name}.{key.parent.name}" for key in table.foreign_keys))
        return RecordError(f"{named} names a record that is not in the ledger: {told}; nothing was written")
    return RecordError(f"{named} breaks a rule of the ledger's table {table.name}; nothing was written")


def _breach(error: BaseException) -> Breach | None:
    words = SQLSTATES.get(str(getattr(error, "sqlstate", None))) or str(error)
    return next((breach for breach in Breach if breach.value in words), None)


def _duplicate(
    error: BaseException, table: sa.Table, rows: Sequence[Row], connection: sa.Connection | None, named: str
) -> ConflictError:
    columns = _unique_columns(error, table)
    # A change of a record has only the columns that it changes.
    clashing = [row for row in _clashing(table, columns, rows, connection) if "id" in row]
    named = str(clashing[0]["id"]) if clashing else named
    if columns == ["id"]:
        return ConflictError(f"{named} is already in the ledger's table {table.name}; nothing was written")
    row = clashing[0] if clashing else rows[0] if len(rows) == 1 else {}
    told = " and ".join(f"{name} {row[name]!r}" if name in row else name for name in columns)
    return ConflictError(f"{named}: another record of the table {table.name} has its {told}; nothing was written")


def _unique_columns(error: BaseException, table: sa.Table) -> list[str]:
    """Return the columns that were to be unique together: SQLite names them, PostgreSQL their index."""
    name = getattr(getattr(error, "diag", None), "constraint_name", None)
    for index in table.indexes:
        columns = [column.name for column in index.columns]
        if index.unique and (index.name == name or ", ".join(f"{table.name}.{c}" for c in columns) in str(error)):
            return columns
    return ["id"]


def _clashing(
    table: sa.Table, columns: Sequence[str], rows: Sequence[Row], connection: sa.Connection | None
) -> list[Row]:
    """Return the rows whose values stand twice among them, or in the database as others see it."""
    whole = [row for row in rows if all(name in row for name in columns)]
    times = Counter(tuple(row[name] for name in columns) for row in whole)
    twice = [row for row in whole if times[tuple(row[name] for name in columns)] > 1]
    if twice or connection is None:
        return twice
    # Not to write: on SQLite the transaction that was refused still has the only right to.
    with connection.engine.connect().execution_options(is_write=False) as other:
        return [row for row in whole if _is_there(other, [(table.c[name], row[name]) for name in columns])]


def _dangling(
    error: BaseException, table: sa.Table, rows: Sequence[Row], connection: sa.Connection | None
) -> list[tuple[Row, str]]:
    """Return the rows and columns that name nothing: PostgreSQL says which; a SQLite transaction can still be asked."""
    detail = getattr(getattr(error, "diag", None), "message_detail", None)
    if detail is not None:
        told = re.match(r"Key \((\w+)\)=\((.*)\) is not present in table", detail, re.DOTALL)
        return [(row, told[1]) for row in rows if told and row.get(told[1]) == told[2]]
    if connection is None or connection.dialect.name != "sqlite":
        return []
    links = sorted((key.parent.name, key.column) for key in table.foreign_keys)
    return [
        (row, name)
        for row in rows
        for name, target in links
        if row.get(name) is not None and not _is_there(connection, [(target, row[name])])
    ]


def _is_there(connection: sa.Connection, values: Sequence[tuple[sa.Column[Any], Any]]) -> bool:
    query = sa.select(sa.literal(1)).where(*(column == value for column, value in values)).limit(1)
    return connection.execute(query).first() is not None


def _column(error: BaseException, table: sa.Table) -> str:
    """Return the column that the driver names."""
    name = getattr(getattr(error, "diag", None), "column_name", None)
    found = re.search(r"NOT NULL constraint failed: (\w+\.\w+)", str(error))
    return f"{table.name}.{name}" if name else found[1] if found else table.name
