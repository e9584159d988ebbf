"""Translates a database's integrity errors: duplicate id, missing value, or reference to a missing record."""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from driftwheel.errors import ConflictError, DriftwheelError, RecordError

SQLSTATES = {"23505": "UNIQUE", "23502": "NOT NULL", "23503": "FOREIGN KEY"}
"""PostgreSQL's numbers for what SQLite says in words."""


class Breach(StrEnum):
    DUPLICATE = "UNIQUE"
    MISSING = "NOT NULL"
    REFERENCE = "FOREIGN KEY"


def integrity_error(error: BaseException, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> DriftwheelError:
    """Return the error to raise for rows that the driver's IntegrityError refused; it names ids, and no other values.

    A row is a mapping of columns to values that has the id.
    """
    breach, ids = _breach(error), [str(row["id"]) for row in rows]
    named = ids[0] if len(ids) == 1 else f"one of {ids[0]} and the {len(ids) - 1} records with it"
    if breach is Breach.DUPLICATE:
        return ConflictError(f"{named} is already in the ledger's table {table.name}; nothing was written")
    if breach is Breach.MISSING:
        for row in rows:
            lacking = [c.name for c in table.columns if not c.nullable and c.name in row and row[c.name] is None]
            if lacking:
                return RecordError(f"{row['id']} has no value for {table.name}.{lacking[0]}; nothing was written")
        return RecordError(f"{named} has no value for {_column(error, table)}; nothing was written")
    if breach is Breach.REFERENCE:
        links = {f"{table.name}.{key.parent.name}": key.parent.name for key in table.foreign_keys}
        told = ", ".join(f"{place} {rows[0].get(name)!r}" for place, name in sorted(links.items()) if name in rows[0])
        return RecordError(f"{named} names a record that is not in the ledger: {told}; nothing was written")
    return RecordError(f"{named} breaks a rule of the ledger's table {table.name}; nothing was written")


def _breach(error: BaseException) -> Breach | None:
    words = SQLSTATES.get(str(getattr(error, "sqlstate", None))) or str(error)
    return next((breach for breach in Breach if breach.value in words), None)


def _column(error: BaseException, table: sa.Table) -> str:
    """Return the column that the driver names."""
    name = getattr(getattr(error, "diag", None), "column_name", None)
    found = re.search(r"NOT NULL constraint failed: (\w+\.\w+)", str(error))
    return f"{table.name}.{name}" if name else found[1] if found else table.name
