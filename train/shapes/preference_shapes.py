"""Shapes of preferences: a better and a worse answer to one prompt (DPO), or an answer that is good or bad (KTO).

They are those of TRL, with the prompt in a column of its own or as the common beginning of both answers, of
LLaMA-Factory, of OpenAI, and of HH-RLHF's texts.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from driftwheel.settings.data import DatasetSettings
from driftwheel.text.conversations import Message, said
from train.shapes.columns import Columns, is_empty, json_cell, text_of_cell
from train.shapes.conversation_shapes import messages, sharegpt
from train.shapes.instruction_shapes import alpaca, asked, prompt_completion
from train.shapes.read_row import ReadRow
from train.shapes.tool_calls import tools_of
from train.shapes.turns import chat_of, turns_of, with_system

PAIRS = (("chosen", "rejected"), ("preferred_output", "non_preferred_output"))
GIVEN = ("conversations", "messages")
JUDGED = {
    "messages": messages,
    "conversations": sharegpt,
    "instruction": alpaca,
}
MARKS = ("kto_tag", "label")
TRUTHS = {"true": True, "false": False}
NUMBERS = {"0": False, "1": True}
HH_TURN = re.compile(r"\n\n(Human|Assistant):")


def is_pair(row: Columns, settings: DatasetSettings) -> bool:
    """Ask whether a row has a better and a worse answer."""
    return any(better in row and worse in row for better, worse in PAIRS)


def is_judged(row: Columns, settings: DatasetSettings) -> bool:
    """Ask whether a row has an answer, and a truth value that says whether it is good."""
    marks = [dict.get(row, name) for name in _marks(settings)]
    return _reader(row, settings) is not None and any(_truth(mark) is not None for mark in marks)


def pair(row: Columns, settings: DatasetSettings) -> ReadRow:
    """Read a better and a worse answer to one prompt."""
    better, worse = next((names for names in PAIRS if names[0] in row), PAIRS[0])
    both = [_turns(row, row[name], name) for name in (better, worse)]
    before = _given(row, settings)
    shared = 0
    while shared < min(map(len, both)) and both[0][shared] == both[1][shared]:
        shared += 1
    if before is None and not shared:
        raise ValueError(f"has no {settings.prompt_column}, and {better} and {worse} do not begin alike")
    if both[0] == both[1]:
        raise ValueError(f"{better} and {worse} say the same")
    prompt = _joined(before, both[0][:shared])
    answers = [_last(turns[shared:], name) for turns, name in zip(both, (better, worse), strict=True)]
    return ReadRow(prompt=with_system(row, prompt), completion=[answers[0]], rejected=[answers[1]], tools=tools_of(row))


def judged(row: Columns, settings: DatasetSettings) -> ReadRow:
    """Read an answer, and whether it is good."""
    mark = row.first(*_marks(settings)) or MARKS[1]
    value = row[mark]
    is_good = _truth(value)
    if is_good is None:
        is_good = NUMBERS.get(str(value).strip())
    if is_good is None:
        raise ValueError(f"{mark} is {value!r}, not true or false")
    reader = _reader(row, settings)
    if reader is None:
        raise KeyError(settings.completion_column)
    return replace(reader(row, settings), is_good=is_good)


def could_be_judged(row: Columns, settings: DatasetSettings) -> str | None:
    """Return the number 0 or 1 that stands as `label` beside an answer, which may be a class or a judgement."""
    if MARKS[1] not in _marks(settings):
        return None
    value = dict.get(row, MARKS[1])
    return None if _reader(row, settings) is None or is_empty(value) else str(value).strip()


def _marks(settings: DatasetSettings) -> list[str]:
    """Return the columns that may judge an answer: not those that the settings name as prompt or answer."""
    return [name for name in MARKS if name not in (settings.prompt_column, settings.completion_column)]


def _reader(row: Columns, settings: DatasetSettings) -> Callable[[Columns, DatasetSettings], ReadRow] | None:
    if settings.prompt_column in row and settings.completion_column in row:
        return prompt_completion
    return next((read for name, read in JUDGED.items() if name in row), None)


def _truth(value: Any) -> bool | None:
    return value if isinstance(value, bool) else TRUTHS.get(value.strip().lower()) if isinstance(value, str) else None


def _given(row: Columns, settings: DatasetSettings) -> list[Message] | None:
    """Return the prompt that stands in columns of its own."""
    if row.holds(settings.prompt_column):
        return chat_of(row, row[settings.prompt_column], settings.prompt_column)
    if name := row.first(*GIVEN):
        return turns_of(row, row[name], name)
    if row.holds("instruction"):
        return asked(row)
    if isinstance(row.get("input"), dict) and isinstance(row["input"].get("messages"), list):
        if row["input"].get("tools"):
            raise ValueError("input has tools, which dpo and kto cannot learn")
        return turns_of(row, row["input"]["messages"], "input.messages")  # OpenAI's
    return None


def _turns(row: Columns, value: Any, name: str) -> list[Message]:
    """Return an answer, which may begin with its prompt, as turns."""
    if isinstance(value, str) and value.lstrip()[:2] in ("[{", '{"'):
        value = json_cell(value, name) if _is_messages(value) else value
    if isinstance(value, dict):
        value = [value]
    if isinstance(value, list):
        return turns_of(row, value, name)
    text = text_of_cell(value, name)
    parts = HH_TURN.split(text)
    if len(parts) < 3 or parts[0].strip():
        return [said("assistant", text)]
    roles = {"Human": "user", "Assistant": "assistant"}
    turns = [
        said("user" if roles[r] == "user" else "assistant", t.strip())
        for r, t in zip(parts[1::2], parts[2::2], strict=True)
    ]
    return [turn for turn in turns if turn["content"]]


def _is_messages(text: str) -> bool:
    return '"role"' in text or '"from"' in text


def _joined(before: list[Message] | None, shared: list[Message]) -> list[Message]:
    """Return the prompt; where both answers repeat it, it stands there once."""
    if not before or not shared:
        return before or shared
    if before[-len(shared) :] == shared:
        return before  # what both repeat is the end of the prompt
    asked_last = [turn["content"] for turn in shared if turn["role"] == "user"]
    return shared if asked_last and asked_last[-1] == before[-1]["content"] else [*before, *shared]


def _last(turns: list[Message], name: str) -> Message:
    if len(turns) != 1:
        raise ValueError(f"{name} has {len(turns)} turns of its own; only the last answer may differ")
    if turns[0]["role"] != "assistant":
        raise ValueError(f"{name} ends with the turn of a {turns[0]['role']}, not of the assistant")
    return turns[0]
