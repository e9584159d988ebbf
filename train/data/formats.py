"""Reads data files (JSONL, JSON, CSV, Parquet) row by row, and names the rows that cannot be read.

To read another kind of file, write a function and give its suffix a line in `FILE_KINDS`.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from driftwheel.conversations import Message, Tool, said, text_of
from driftwheel.dataset_report import BrokenRow
from driftwheel.errors import DataError
from driftwheel.settings.data import DatasetSettings
from train.data.row_shapes import SHAPES, PromptAndAnswer, RawRow, ReadRow, detect_format

SMALLEST_UNIX_SECONDS, SMALLEST_UNIX_MILLISECONDS = 1e8, 1e11  # smaller numbers may be dates such as 20260131


@dataclass(frozen=True)
class Row:
    """One example as read, before cleaning."""

    place: str
    """``file:line``, for messages to a person."""
    prompt: list[Message]
    completion: list[Message]
    """The assistant's turn to learn; it may be a call of tools."""
    group: str | None = None
    time: datetime | None = None
    weight: float = 1.0
    """How often it is drawn if it comes into the training split."""
    tools: list[Tool] = field(default_factory=list)
    """What the assistant may call."""
    references: list[str] = field(default_factory=list)
    """Further right answers."""

    @property
    def answer(self) -> str:
        """The right answer as text."""
        return text_of(self.completion[-1])


@dataclass
class Reading:
    """What a file held."""

    rows: list[Row] = field(default_factory=list)
    broken: list[BrokenRow] = field(default_factory=list)
    format: str = "auto"
    """The shape that the rows were read as."""


def read_file(settings: DatasetSettings, path: Path) -> Reading:
    """Read every row of a file; raises DataError if the file is missing, unreadable, empty or of unknown shape."""
    if not path.is_file():
        raise DataError(f"no data file at {path}; check dataset.sources")
    reading = Reading(format=settings.format)
    try:
        for place, row in _records(path, reading):
            _read_row(settings, reading, place, row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {path}: {error}; it must be UTF-8") from error
    if reading.format == "auto" and reading.broken:
        first = reading.broken[0]
        raise DataError(f"{first.place} {first.reason}, and no row is of a known format; set dataset.format")
    if not reading.rows and not reading.broken:
        raise DataError(f"{path} holds no rows")
    return reading


def _read_row(settings: DatasetSettings, reading: Reading, place: str, row: RawRow) -> None:
    """Put a row to the others, or to the broken ones; the first row of a known format says which format all have."""
    if reading.format == "auto":
        reading.format = detect_format(settings, row)
    if reading.format == "auto":
        names = ", ".join(sorted(row)) or "no columns"
        reading.broken.append(BrokenRow(place, f"is of no known format: it has {names}"))
        return
    try:
        read = _whole(SHAPES[reading.format].read(row, settings))
        _check_prompt(read.prompt)
        time = _time(row[settings.time_column]) if settings.time_column else None
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        reading.broken.append(BrokenRow(place, _reason(error)))
        return
    group = row.get(settings.group_column) if settings.group_column else None
    group = None if group is None else str(group)
    reading.rows.append(
        Row(place, read.prompt, read.completion, group, time, tools=read.tools, references=read.references)
    )


def _whole(read: PromptAndAnswer | ReadRow) -> ReadRow:
    """Return a row of prompt and answer in its long form."""
    return read if isinstance(read, ReadRow) else ReadRow(prompt=read[0], completion=[said("assistant", read[1])])


def _records(path: Path, reading: Reading) -> Iterator[tuple[str, RawRow]]:
    kind = FILE_KINDS.get(path.suffix.lower())
    if kind is None:
        raise DataError(
            f"{path}: cannot read {path.suffix or 'a file without a suffix'}; give .jsonl, .csv or .parquet"
        )
    yield from kind(path, reading)


def _jsonl(path: Path, reading: Reading) -> Iterator[tuple[str, RawRow]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            place = f"{path.name}:{number}"
            try:
                value = json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                reading.broken.append(BrokenRow(place, f"is not JSON: {error}"))
                continue
            if isinstance(value, dict):
                yield place, value
            else:
                reading.broken.append(BrokenRow(place, f"is a JSON {type(value).__name__}, not an object"))


def _json(path: Path, reading: Reading) -> Iterator[tuple[str, RawRow]]:
    """Read a JSON list of rows; anything else is read as JSON lines."""
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, RecursionError):
        values = None
    if not isinstance(values, list):
        yield from _jsonl(path, reading)
        return
    for number, value in enumerate(values, 1):
        if isinstance(value, dict):
            yield f"{path.name}:{number}", value
        else:
            reading.broken.append(BrokenRow(f"{path.name}:{number}", f"is a {type(value).__name__}, not an object"))


def _csv(path: Path, reading: Reading) -> Iterator[tuple[str, RawRow]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        for value in reader:
            place = f"{path.name}:{reader.line_num}"
            if None in value or None in value.values():
                wanted = len(reader.fieldnames or [])
                reading.broken.append(BrokenRow(place, f"does not have the header's {wanted} columns"))
            else:
                yield place, value


def _parquet(path: Path, reading: Reading) -> Iterator[tuple[str, RawRow]]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches():
                for value in batch.to_pylist():
                    number += 1
                    yield f"{path.name}:{number}", value
    except pyarrow.ArrowException as error:
        raise DataError(f"cannot read {path}: {error}") from error


FILE_KINDS = {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".parquet": _parquet}


def _time(value: Any) -> datetime:
    """Return a moment given as ISO 8601, as a date, or as Unix seconds or milliseconds; without a zone it is UTC."""
    text = str(value).strip()
    try:
        number = float(text)
        if number >= SMALLEST_UNIX_SECONDS:
            return datetime.fromtimestamp(number if number < SMALLEST_UNIX_MILLISECONDS else number / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"has the unreadable time {value!r}") from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _check_prompt(prompt: list[Message]) -> None:
    if not prompt or prompt[-1]["role"] not in ("user", "tool"):
        raise ValueError("the prompt does not end with a user turn")


def _reason(error: Exception) -> str:
    return f"has no column {error}" if isinstance(error, KeyError) else str(error)
