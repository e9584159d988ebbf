"""Reads tables of delimited text (RFC 4180), and finds out which sign delimits the cells.

A quote that is never closed would swallow the rows after it, so it is an error that names the line where it opens.
"""

import csv
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from driftwheel.errors import DataError
from driftwheel.records.dataset_report import BrokenRow
from train.reading.opened import kind_of, open_text
from train.reading.raw_rows import Found

DELIMITERS = (",", ";", "\t", "|")
SNIFFED_LINES = 100


def csv_rows(path: Path) -> Found:
    """Give every record of a table; raises DataError for a header with a name twice, and for an unclosed quote."""
    # Python's own limit of 131,072 characters a cell is less than a long conversation; it belongs to the process.
    csv.field_size_limit(sys.maxsize)
    with open_text(path, newline="") as file:
        head = list(itertools.islice(file, SNIFFED_LINES))
        delimiter = _delimiter(head, prefers_tab=kind_of(path) == ".tsv")
        records = _records(path, itertools.chain(head, file), delimiter)
        header = next(records, None)
        if header is None:
            return
        if isinstance(header, BrokenRow):
            raise DataError(f"{header.place} {header.reason}; a table begins with the names of its columns")
        names = _names(header[1])
        if twice := {name for name in names if names.count(name) > 1}:
            raise DataError(f"{header[0]} names the column {min(twice)!r} twice; give each its own name")
        for record in records:
            if isinstance(record, BrokenRow):
                yield record
            elif len(record[1]) < len(names) or any(record[1][len(names) :]):
                yield BrokenRow(record[0], f"does not have the header's {len(names)} columns but {len(record[1])}")
            else:
                yield record[0], dict(zip(names, record[1], strict=False))


def _names(header: Sequence[str]) -> list[str]:
    """Return the columns' names without the space around them; those that a spreadsheet left empty are numbered."""
    return [name.strip() or f"column {number}" for number, name in enumerate(header, 1)]


def _delimiter(head: Sequence[str], *, prefers_tab: bool) -> str:
    """Return the sign that cuts the header and most of the first lines into the same number of cells."""

    def fit(sign: str) -> tuple[float, int, bool]:
        widths = [len(cells) for cells in csv.reader(head, delimiter=sign) if cells] or [1]
        same = sum(width == widths[0] for width in widths) / len(widths)
        return (same if widths[0] > 1 else 0), widths[0], prefers_tab and sign == "\t"

    return max(DELIMITERS, key=fit)


def _records(path: Path, lines: Iterator[str], delimiter: str) -> Iterator[tuple[str, list[str]] | BrokenRow]:
    """Give the cells of each record that is not empty; raises DataError for a quote that is never closed."""
    taken: list[str] = []
    width = 0

    def remembered() -> Iterator[str]:
        for line in lines:
            taken.append(line)
            yield line

    reader = csv.reader(remembered(), delimiter=delimiter, strict=True)
    while True:
        taken.clear()
        first = reader.line_num + 1
        place = f"{path.name}:{first}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            opened, is_closed = _last_quote(taken, delimiter)
            if len(taken) > 1 or not is_closed:
                raise DataError(_unclosed(path.name, first + opened)) from error
            yield BrokenRow(place, f"has text after a closing quote ({error}); a quote inside of quotes is doubled")
            continue
        if cells is None:
            return
        width = width or len(cells)
        # Empty cells after the last column are a spreadsheet's.
        if len(taken) > 1 and (len(cells) < width or any(cells[width:])):
            raise DataError(_unclosed(path.name, first + _last_quote(taken, delimiter)[0]))
        if cells:
            yield place, cells


def _unclosed(name: str, line: int) -> str:
    return f"{name}:{line} opens a quote that is not closed before other rows begin; close it, or double it in the text"


def _last_quote(lines: Sequence[str], delimiter: str) -> tuple[int, bool]:
    """Return in which line a record's last quoted cell opens, and whether it is closed."""
    opened, is_inside, begins_cell = 0, False, True
    for number, line in enumerate(lines):
        at = 0
        while at < len(line):
            sign = line[at]
            at += 1
            if sign == '"' and is_inside and line[at : at + 1] == '"':
                at += 1
            elif sign == '"' and is_inside:
                is_inside = False
                if line[at : at + 1] not in ("", delimiter, "\r", "\n"):
                    return opened, True  # here the reader gave up
            elif sign == '"' and begins_cell:
                opened, is_inside = number, True
            begins_cell = not is_inside and sign == delimiter
    return opened, not is_inside
