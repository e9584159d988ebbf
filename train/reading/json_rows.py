r"""Reads JSON lines and JSON arrays; which of the two a file is says its first sign, not its name.

Lines end at \n, \r\n or \r and nowhere else: U+2028 and the like are part of a JSON text.
"""

import io
import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from driftwheel.errors import DataError
from driftwheel.foreign_json import read_json
from driftwheel.records.dataset_report import BrokenRow
from driftwheel.store.row_values import storable
from train.reading.opened import open_text
from train.reading.raw_rows import Found, PlacedRow, RawRow, placed

NumberedLines = Iterable[tuple[int, str]]


def json_rows(path: Path) -> Found:
    """Give every record of a file; raises DataError for an array, or an object of several lines, that is torn."""
    with open_text(path) as file:
        lines = enumerate(file, 1)
        start, first = next(((number, line) for number, line in lines if line.strip()), (0, ""))
        if first.lstrip().startswith("[") or first.strip() == "{":
            yield from _whole(path, start, first + file.read())
        else:
            yield from _lines(path.name, itertools.chain([(start, first)], lines))


def _whole(path: Path, start: int, text: str) -> Found:
    """Read a text as one JSON value; raises DataError if it is none, unless its first line is one."""
    try:
        value = read_json(text, _as_object)
    except ValueError as error:
        if _is_json(text.partition("\n")[0]):
            yield from _lines(path.name, enumerate(io.StringIO(text), start))
            return
        line, why = start, str(error)
        if isinstance(error, json.JSONDecodeError):
            line, why = start + error.lineno - 1, error.msg
        raise DataError(f"{path.name}:{line} is not JSON, though the file begins as one value: {why}") from error
    for number, item in enumerate(value if isinstance(value, list) else [value], 1):
        yield _placed(f"{path.name}:{number}", item)


def _lines(name: str, lines: NumberedLines) -> Found:
    for number, line in lines:
        if not line.strip():
            continue
        place = f"{name}:{number}"
        try:
            yield _placed(place, read_json(line, _as_object))
        except ValueError as error:
            yield BrokenRow(place, f"is not JSON: {error}")


class _Faulty(RawRow):
    """An object with keys of which one would be lost, or be no text, and why."""

    fault = ""


def _as_object(pairs: list[tuple[str, Any]]) -> RawRow:
    found, fault = dict(pairs), None
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        fault = f"has the key {max(names, key=names.count)!a} twice, and only one of the two could be learned"
    elif odd := [name for name in found if name != storable(name)]:
        fault = f"has the key {odd[0]!a}, which holds half of a surrogate pair or a NUL and is no text"
    if fault is None:
        return found
    faulty = _Faulty(found)
    faulty.fault = fault
    return faulty


def _placed(place: str, value: Any) -> PlacedRow | BrokenRow:
    fault = _fault_in(value)
    return BrokenRow(place, fault) if fault else placed(place, value)


def _fault_in(value: Any) -> str | None:
    """Return what is wrong with the keys of an object, or of one within it."""
    if isinstance(value, _Faulty):
        return value.fault
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((fault for part in parts if (fault := _fault_in(part))), None)


def _is_json(line: str) -> bool:
    try:
        read_json(line)
    except ValueError:
        return False
    return True
