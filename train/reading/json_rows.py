r"""Reads JSON lines and JSON arrays; which of the two a file is says its first sign, not its name.

Lines end at \n, \r\n or \r and nowhere else: U+2028 and the like are part of a JSON text.
"""

import io
import itertools
import json
from collections.abc import Iterable
from pathlib import Path

from driftwheel.dataset_report import BrokenRow
from driftwheel.errors import DataError
from driftwheel.foreign_json import read_json
from train.reading.opened import open_text
from train.reading.raw_rows import Found, placed

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
        value = read_json(text)
    except ValueError as error:
        if _is_json(text.partition("\n")[0]):
            yield from _lines(path.name, enumerate(io.StringIO(text), start))
            return
        line, why = start, str(error)
        if isinstance(error, json.JSONDecodeError):
            line, why = start + error.lineno - 1, error.msg
        raise DataError(f"{path.name}:{line} is not JSON, though the file begins as one value: {why}") from error
    for number, item in enumerate(value if isinstance(value, list) else [value], 1):
        yield placed(f"{path.name}:{number}", item)


def _lines(name: str, lines: NumberedLines) -> Found:
    for number, line in lines:
        if not line.strip():
            continue
        place = f"{name}:{number}"
        try:
            yield placed(place, read_json(line))
        except ValueError as error:
            yield BrokenRow(place, f"is not JSON: {error}")


def _is_json(line: str) -> bool:
    try:
        read_json(line)
    except ValueError:
        return False
    return True
