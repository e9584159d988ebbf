"""Checks the values of a row before a database sees them, so that SQLite and PostgreSQL keep and refuse the same.

SQLite makes NULL of NaN and keeps text of any kind in a column of numbers; PostgreSQL keeps NaN, and refuses it inside
JSON, and text with a NUL. Whatever either of them would refuse or change is refused here, by the name of its column.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from driftwheel.errors import RecordError
from driftwheel.store.tables import InStorage, Nested, UtcTime, metadata

SMALLEST_INTEGER, LARGEST_INTEGER = -(2**63), 2**63 - 1
"""Of 64 bits, as both databases have them."""
ERRORS = ("error", "observed_error")
"""Columns whose text is the message of an exception."""
Check = Callable[[Any], str | None]
"""Says what is wrong with a value that is not None, in words that do not hold the value's text."""


def check_rows(table: sa.Table, rows: Iterable[Mapping[str, Any]]) -> None:
    """Raise RecordError for the first value that cannot be kept; it names id and column, and no text."""
    for row in rows:
        for name, check in _CHECKS[table]:
            value = row.get(name)
            if value is not None and (fault := check(value)) is not None:
                raise RecordError(f"{row.get('id')!s}: {table.name}.{name} {fault}; nothing was written")


def checked_values(table: sa.Table, names: Sequence[str]) -> Callable[[Sequence[Any]], None]:
    """Return what does the same to a row that is a sequence of values, at a lower cost."""
    checks = dict(_CHECKS[table])
    in_order = [checks[name] for name in names]

    def check(values: Sequence[Any]) -> None:
        for value, check_one in zip(values, in_order, strict=True):
            if value is not None and check_one(value) is not None:
                check_rows(table, [dict(zip(names, values, strict=True))])

    return check


def storable(text: str) -> str:
    """Return text that every database takes: no lone surrogates, no NUL."""
    if text.isascii():
        return text.replace("\x00", "\ufffd") if "\x00" in text else text
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("\x00", "\ufffd")


def with_told_errors(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a row whose errors can be kept: a failure is written down whatever bytes its message quotes."""
    told = {name: storable(row[name]) for name in ERRORS if isinstance(row.get(name), str)}
    return {**row, **told} if told else row


def can_be_kept(value: Any) -> bool:
    """Say whether a row could have this value; a database may refuse even to look for one that cannot be."""
    check = {str: _text, int: _integer}.get(type(value))
    return check is None or check(value) is None


def _text(value: Any) -> str | None:
    if not isinstance(value, str):
        return f"must be text, not {type(value).__name__}"
    if "\0" in value:
        return "holds a NUL character, which PostgreSQL does not keep"
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return "holds half of a surrogate pair, which is no character"
    return None


def _integer(value: Any) -> str | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return f"must be an integer, not {type(value).__name__}"
    return None if SMALLEST_INTEGER <= value <= LARGEST_INTEGER else "is an integer beyond 64 bits"


def _number(value: Any) -> str | None:
    if not isinstance(value, float):
        return _integer(value) and f"must be a number, not {type(value).__name__}"
    return None if math.isfinite(value) else f"is {value}, which is no number"


def _truth(value: Any) -> str | None:
    return None if value is True or value is False else f"must be true or false, not {type(value).__name__}"


def _moment(value: Any) -> str | None:
    if not isinstance(value, datetime):
        return f"must be a time, not {type(value).__name__}"
    # Without an offset it would be read as this machine's time.
    return None if value.tzinfo is not None else "is a time without an offset from UTC"


def _json(value: Any) -> str | None:
    try:
        plain = msgspec.to_builtins(value)
    except (TypeError, ValueError, OverflowError) as error:
        return f"cannot be written as JSON: {error}"
    return _inside(plain)


def _inside(value: Any, place: str = "") -> str | None:
    """Return what is wrong inside of JSON, and where; its texts are escaped, so that they may hold anything."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"has {value} at {place or 'its top'}, which is no number"
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    for name, member in items:
        if (fault := _inside(member, f"{place}.{name}" if place else str(name))) is not None:
            return fault
    return None


def _nested(annotation: Any) -> Check:
    """Return the check of a column that holds a dataclass: it must be possible to read it again."""

    def check(value: Any) -> str | None:
        try:
            msgspec.convert(msgspec.to_builtins(value), annotation)
        except (TypeError, ValueError, OverflowError) as error:
            return f"cannot be written as JSON: {error}"
        return None

    return check


def _check_of(column: sa.Column[Any]) -> Check:
    if isinstance(column.type, Nested):
        return _nested(column.type.annotation)
    kinds: list[tuple[type, Check]] = [
        (UtcTime, _moment),
        (InStorage, _text),
        (sa.Boolean, _truth),
        (sa.Float, _number),
        (sa.BigInteger, _integer),
        (sa.String, _text),
    ]
    return next((check for kind, check in kinds if isinstance(column.type, kind)), _json)


_CHECKS = {table: [(c.name, _check_of(c)) for c in table.columns] for table in metadata.tables.values()}
