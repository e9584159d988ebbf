"""A data file becomes chat rows: JSONL, CSV or Parquet, in any of five shapes; what cannot be read is named.

A conversation becomes one row: its last assistant turn is the completion, all before it the prompt.
"""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from driftwheel.errors import DataError
from driftwheel.settings.data import DatasetSettings

ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
TURN = re.compile(r"###\s*(Human|Assistant):", re.IGNORECASE)
SMALLEST_UNIX_SECONDS, SMALLEST_UNIX_MILLISECONDS = 1e8, 1e11  # smaller numbers may be dates such as 20260131

Message = dict[str, str]


@dataclass(frozen=True)
class Row:
    """One example as read, before cleaning."""

    place: str
    """``file:line``, for messages to a person."""
    prompt: list[Message]
    answer: str
    group: str | None = None
    time: datetime | None = None
    weight: float = 1.0
    """How often it is drawn if it comes into the training split."""


@dataclass(frozen=True)
class BrokenRow:
    """A row that cannot be used, and why."""

    place: str
    reason: str


@dataclass
class Reading:
    """What a file held."""

    rows: list[Row] = field(default_factory=list)
    broken: list[BrokenRow] = field(default_factory=list)
    format: str = "auto"
    """The shape that the rows were read as."""


def read_file(path: Path, settings: DatasetSettings) -> Reading:
    """Read every row of a file; raises DataError if the file is missing, unreadable, empty or of unknown shape."""
    if not path.is_file():
        raise DataError(f"no data file at {path}; check dataset.sources")
    reading = Reading()
    shape: str = settings.format
    try:
        for place, value in _records(path, reading):
            if shape == "auto":
                shape = detect_format(value, settings)
            if shape == "auto":
                names = ", ".join(sorted(value)) or "no columns"
                reading.broken.append(BrokenRow(place, f"is of no known format: it has {names}"))
                continue
            try:
                prompt, answer = SHAPES[shape](value, settings)
                _check_prompt(prompt)
                time = _time(value[settings.time_column]) if settings.time_column else None
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                reading.broken.append(BrokenRow(place, _reason(error)))
                continue
            group = value.get(settings.group_column) if settings.group_column else None
            reading.rows.append(Row(place, prompt, answer, None if group is None else str(group), time))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {path}: {error}; it must be UTF-8") from error
    if shape == "auto" and reading.broken:
        first = reading.broken[0]
        raise DataError(f"{first.place} {first.reason}, and no row is of a known format; set dataset.format")
    reading.format = shape
    if not reading.rows and not reading.broken:
        raise DataError(f"{path} holds no rows")
    return reading


def detect_format(value: dict[str, Any], settings: DatasetSettings) -> str:
    """Return the format whose columns a row has, or `auto` if none fits."""
    if settings.prompt_column in value and settings.completion_column in value:
        return "prompt_completion"
    if "messages" in value:
        return "messages"
    if "instruction" in value and "output" in value:
        return "alpaca"
    if "conversations" in value:
        return "sharegpt"
    return "human_assistant" if TURN.search(str(value.get("text", ""))) else "auto"


def _records(path: Path, reading: Reading) -> Iterator[tuple[str, dict[str, Any]]]:
    kinds = {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".parquet": _parquet}
    if path.suffix.lower() not in kinds:
        raise DataError(
            f"{path}: cannot read {path.suffix or 'a file without a suffix'}; give .jsonl, .csv or .parquet"
        )
    yield from kinds[path.suffix.lower()](path, reading)


def _jsonl(path: Path, reading: Reading) -> Iterator[tuple[str, dict[str, Any]]]:
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


def _json(path: Path, reading: Reading) -> Iterator[tuple[str, dict[str, Any]]]:
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


def _csv(path: Path, reading: Reading) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        for value in reader:
            place = f"{path.name}:{reader.line_num}"
            if None in value or None in value.values():
                wanted = len(reader.fieldnames or [])
                reading.broken.append(BrokenRow(place, f"does not have the header's {wanted} columns"))
            else:
                yield place, value


def _parquet(path: Path, reading: Reading) -> Iterator[tuple[str, dict[str, Any]]]:
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


def _text(value: Any, name: str) -> str:
    if value is None or value == "":
        raise ValueError(f"{name} is empty")
    if not isinstance(value, str):
        raise TypeError(f"{name} is a {type(value).__name__}, not text")
    return value


def _chat(value: Any, name: str) -> list[Message]:
    """Return a prompt given as text or as messages."""
    if isinstance(value, list):
        return _turns(value, name)
    return [{"role": "user", "content": _text(value, name)}]


def _turns(value: Any, name: str) -> list[Message]:
    """Return a conversation given as messages; a CSV file has them as JSON text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"{name} is text, but not JSON: {error}") from error
    if not isinstance(value, list):
        raise TypeError(f"{name} is a {type(value).__name__}, not a list of messages")
    return [_message(m, f"{name}[{n}]") for n, m in enumerate(value)]


def _message(value: Any, name: str) -> Message:
    if not isinstance(value, dict):
        raise TypeError(f"{name} is a {type(value).__name__}, not a message")
    role, content = value.get("role", value.get("from")), value.get("content", value.get("value"))
    if role not in ROLES:
        raise ValueError(f"{name} has the unknown role {role!r}")
    return {"role": ROLES[role], "content": _text(content, f"{name}'s content")}


def _split(turns: list[Message]) -> tuple[list[Message], str]:
    while turns and turns[-1]["role"] != "assistant":
        turns = turns[:-1]
    if len(turns) < 2 or turns[-2]["role"] != "user":
        raise ValueError("holds no user turn followed by an assistant turn")
    return turns[:-1], turns[-1]["content"]


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
    if not prompt or prompt[-1]["role"] != "user":
        raise ValueError("the prompt does not end with a user turn")


def _prompt_completion(value: dict[str, Any], settings: DatasetSettings) -> tuple[list[Message], str]:
    answer = value[settings.completion_column]
    if isinstance(answer, list):
        message = _message(answer[0], settings.completion_column)
        if message["role"] != "assistant":
            raise ValueError(f"{settings.completion_column} is the turn of a {message['role']}, not of the assistant")
        answer = message["content"]
    return _chat(value[settings.prompt_column], settings.prompt_column), _text(answer, settings.completion_column)


def _messages(value: dict[str, Any], settings: DatasetSettings) -> tuple[list[Message], str]:
    return _split(_turns(value["messages"], "messages"))


def _alpaca(value: dict[str, Any], settings: DatasetSettings) -> tuple[list[Message], str]:
    text = _text(value["instruction"], "instruction")
    if value.get("input"):
        text += "\n\n" + _text(value["input"], "input")
    return [{"role": "user", "content": text}], _text(value["output"], "output")


def _sharegpt(value: dict[str, Any], settings: DatasetSettings) -> tuple[list[Message], str]:
    return _split(_turns(value["conversations"], "conversations"))


def _human_assistant(value: dict[str, Any], settings: DatasetSettings) -> tuple[list[Message], str]:
    parts = TURN.split(_text(value["text"], "text"))[1:]
    turns = [
        {"role": ROLES[role.lower()], "content": content.strip()}
        for role, content in zip(parts[::2], parts[1::2], strict=True)
    ]
    return _split([turn for turn in turns if turn["content"]])


SHAPES = {
    "prompt_completion": _prompt_completion,
    "messages": _messages,
    "alpaca": _alpaca,
    "sharegpt": _sharegpt,
    "human_assistant": _human_assistant,
}


def _reason(error: Exception) -> str:
    return f"has no column {error}" if isinstance(error, KeyError) else str(error)
