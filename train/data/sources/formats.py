"""Reads data files row by row as prompts and answers, and names the rows that cannot be read."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from driftwheel.errors import DataError
from driftwheel.records.dataset_report import BrokenRow
from driftwheel.settings.data import DatasetSettings
from driftwheel.text.conversations import Message, Tool, is_learned, said, text_of
from train.data.sources.row_shapes import JUDGED, PLAIN, ambiguous_mark, detect_format, shape_of
from train.reading.raw_rows import RawRow
from train.reading.sources import Part, parts_of
from train.shapes.columns import Columns, check_text
from train.shapes.instruction_shapes import REFERENCES
from train.shapes.read_row import PromptAndAnswer, ReadRow

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
    rejected: list[Message] | None = None
    """An answer to the same prompt that is worse; it is never learned."""
    is_good: bool | None = None
    """What a person thought of the answer; one that is bad is never learned."""
    request_id: str | None = None
    """The logged request that was labelled, if it is one."""
    groups: dict[str, str] = field(default_factory=dict)
    """Its value in each column of `dataset.slice_columns` that it has."""

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
    name: str = ""
    """The file, for messages to a person."""
    unused: set[str] = field(default_factory=set)
    """Columns, and keys of messages, that were not read."""
    marks: set[str] = field(default_factory=set)
    """What stands as `label` beside answers, and is neither true nor false."""
    columns: set[str] = field(default_factory=set)
    """Those that the settings name and a row has: of prompt, answer, group and slices."""


def read_sources(settings: DatasetSettings, sources: Sequence[str | Path]) -> list[Reading]:
    """Read files, folders and data sets of the hub, each file by itself.

    Raises DataError if one is missing, unreadable, empty or of unknown shape.
    """
    return [_read(settings, part) for source in sources for part in parts_of(source)]


def _read(settings: DatasetSettings, part: Part) -> Reading:
    reading = Reading(format=settings.format, name=part.name)
    for found in part.read():
        if isinstance(found, BrokenRow):
            reading.broken.append(found)
        else:
            _read_row(settings, reading, *found)
    if reading.format == "auto" and reading.broken:
        first = reading.broken[0]
        raise DataError(
            f"{first.place} {first.reason}, and no row is of a known format; set dataset.format, or name the columns "
            "with dataset.prompt_column and dataset.completion_column"
        )
    if settings.format == "auto" and reading.marks and reading.marks <= {"0", "1"}:
        raise DataError(
            f"{part.name} has 0 and 1 as `label` beside answers, which may say that answers are bad and good: set "
            f"dataset.format to {JUDGED} if they do, else to {reading.format}"
        )
    if not reading.rows and not reading.broken:
        raise DataError(f"{part.name} holds no rows; fill it, or leave it out of dataset.sources")
    return reading


def _read_row(settings: DatasetSettings, reading: Reading, place: str, raw: RawRow) -> None:
    """Put a row to the others, or to the broken ones; the first row of a known format says which format all have."""
    row = Columns(raw)
    if reading.format == "auto":
        try:
            reading.format = detect_format(settings, row)
        except ValueError as error:
            raise DataError(f"{place} {error}") from error
    if reading.format == "auto":
        names = ", ".join(sorted(map(str, row))) or "no columns"
        reading.broken.append(BrokenRow(place, f"is of no known format: it has {names}"))
        return
    try:
        row.refuse_what_cannot_be_done()
        read = _whole(shape_of(settings, row, reading.format).read(row, settings))
        if reading.format != PLAIN:
            _check_prompt(read.prompt)
        _check_calls(read)
        time = _time(row[settings.time_column]) if settings.time_column else None
        group = _group(row.get(settings.group_column)) if settings.group_column else None
        named = {name: _group(row.get(name)) for name in settings.slice_columns}
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reading.broken.append(BrokenRow(place, _reason(error)))
        return
    wanted = (settings.prompt_column, settings.completion_column, settings.group_column, *settings.slice_columns)
    reading.columns |= {name for name in wanted if name and name in row}
    if REFERENCES in row:  # right answers may stand there alone
        reading.columns.add(settings.completion_column)
    groups = {name: value for name, value in named.items() if value}
    reading.rows.append(Row(place, group=group, time=time, groups=groups, **vars(read)))
    reading.unused |= row.unused
    if mark := ambiguous_mark(settings, row, reading.format):
        reading.marks.add(mark)


def _group(value: Any) -> str | None:
    """Return a group's name: a file with a gap in its column of numbers holds 1 as 1.0, and the gap as NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    check_text(str(value), "the group")
    return str(value)


def _whole(read: PromptAndAnswer | ReadRow) -> ReadRow:
    """Return a row of prompt and answer in its long form."""
    return read if isinstance(read, ReadRow) else ReadRow(prompt=read[0], completion=[said("assistant", read[1])])


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


def _check_calls(read: ReadRow) -> None:
    """Raise ValueError for a learned call of a tool that is not among the tools of the row, where it has any."""
    offered = {cast(Tool, tool["function"])["name"] for tool in read.tools}
    for message in (*read.prompt, *read.completion, *(read.rejected or ())):
        for call in message.get("tool_calls", ()) if is_learned(message) and offered else ():
            if call["function"]["name"] not in offered:
                known = ", ".join(sorted(map(str, offered)))
                raise ValueError(f"calls the tool {call['function']['name']!r}, and offers only {known}")


def _reason(error: Exception) -> str:
    return f"has no column {error}" if isinstance(error, KeyError) else str(error)
