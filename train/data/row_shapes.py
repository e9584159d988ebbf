"""The shapes that rows of data files may have, such as `messages` or Alpaca's columns, each read as prompt and answer.

A conversation is one row: its last assistant turn is the answer, all before it the prompt. To read another shape,
write a function, give it a line in `SHAPES`, and add its name to `dataset.format`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from driftwheel.conversations import Message, Role, Tool, said, text_of
from driftwheel.foreign_json import read_json
from driftwheel.settings.data import DatasetSettings
from train.reading.raw_rows import RawRow

ROLES: dict[str, Role] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}
TURN = re.compile(r"###\s*(Human|Assistant):", re.IGNORECASE)

PromptAndAnswer = tuple[list[Message], str]
"""A row that is nothing but a prompt and the text that answers it."""


@dataclass(frozen=True, kw_only=True)
class ReadRow:
    """A row of which a data file says more than prompt and answer."""

    prompt: list[Message]
    completion: list[Message]
    """The assistant's turn to learn."""
    tools: list[Tool] = field(default_factory=list)
    """What the assistant may call."""
    references: list[str] = field(default_factory=list)
    """Further right answers."""


@dataclass(frozen=True)
class Shape:
    """One way to write a row down."""

    fits: Callable[[RawRow, DatasetSettings], bool]
    """Whether a row has this shape's columns."""
    read: Callable[[RawRow, DatasetSettings], PromptAndAnswer | ReadRow]
    """Raises LookupError, TypeError, ValueError or AttributeError, with what is wrong, for a row that is broken."""


def detect_format(settings: DatasetSettings, row: RawRow) -> str:
    """Return the first format whose columns a row has, or `auto` if none fits."""
    return next((name for name, shape in SHAPES.items() if shape.fits(row, settings)), "auto")


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
    return [said("user", _text(value, name))]


def _turns(value: Any, name: str) -> list[Message]:
    """Return a conversation given as messages; a CSV file has them as JSON text."""
    if isinstance(value, str):
        try:
            value = read_json(value)
        except ValueError as error:
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
    return said(ROLES[role], _text(content, f"{name}'s content"))


def _split(turns: list[Message]) -> PromptAndAnswer:
    while turns and turns[-1]["role"] != "assistant":
        turns = turns[:-1]
    if len(turns) < 2 or turns[-2]["role"] != "user":
        raise ValueError("holds no user turn followed by an assistant turn")
    return turns[:-1], text_of(turns[-1])


def _prompt_completion(row: RawRow, settings: DatasetSettings) -> PromptAndAnswer:
    answer = row[settings.completion_column]
    if isinstance(answer, list):
        message = _message(answer[0], settings.completion_column)
        if message["role"] != "assistant":
            raise ValueError(f"{settings.completion_column} is the turn of a {message['role']}, not of the assistant")
        answer = text_of(message)
    return _chat(row[settings.prompt_column], settings.prompt_column), _text(answer, settings.completion_column)


def _messages(row: RawRow, settings: DatasetSettings) -> PromptAndAnswer:
    return _split(_turns(row["messages"], "messages"))


def _alpaca(row: RawRow, settings: DatasetSettings) -> PromptAndAnswer:
    text = _text(row["instruction"], "instruction")
    if row.get("input"):
        text += "\n\n" + _text(row["input"], "input")
    return [said("user", text)], _text(row["output"], "output")


def _sharegpt(row: RawRow, settings: DatasetSettings) -> PromptAndAnswer:
    return _split(_turns(row["conversations"], "conversations"))


def _human_assistant(row: RawRow, settings: DatasetSettings) -> PromptAndAnswer:
    parts = TURN.split(_text(row["text"], "text"))[1:]
    turns = [said(ROLES[role.lower()], content.strip()) for role, content in zip(parts[::2], parts[1::2], strict=True)]
    return _split([turn for turn in turns if turn["content"]])


# The configured columns come first: a file may have them beside those of another shape.
SHAPES = {
    "prompt_completion": Shape(
        lambda row, settings: settings.prompt_column in row and settings.completion_column in row, _prompt_completion
    ),
    "messages": Shape(lambda row, _: "messages" in row, _messages),
    "alpaca": Shape(lambda row, _: "instruction" in row and "output" in row, _alpaca),
    "sharegpt": Shape(lambda row, _: "conversations" in row, _sharegpt),
    "human_assistant": Shape(lambda row, _: bool(TURN.search(str(row.get("text", "")))), _human_assistant),
}
