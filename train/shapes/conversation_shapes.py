"""Shapes of whole conversations: OpenAI's and ShareGPT's lists of messages, and turns marked within one text."""

import re
from typing import Any

from driftwheel.settings.data import DatasetSettings
from driftwheel.text.conversations import said
from train.shapes.columns import Columns, text_of_cell
from train.shapes.read_row import ReadRow
from train.shapes.tool_calls import tools_of
from train.shapes.turns import ROLES, split_turns, turns_of, with_system

TURN = re.compile(r"###\s*(Human|Assistant):", re.IGNORECASE)


def messages(row: Columns, settings: DatasetSettings) -> ReadRow:
    """Read OpenAI's chat form, also that of its fine-tuning files with tools and weights."""
    return _conversation(row, "messages")


def sharegpt(row: Columns, settings: DatasetSettings) -> ReadRow:
    """Read ShareGPT's form; the columns `system` and `tools` are LLaMA-Factory's."""
    return _conversation(row, "conversations")


def human_assistant(row: Columns, settings: DatasetSettings) -> ReadRow:
    """Read a text in which `### Human:` and `### Assistant:` begin the turns."""
    parts = TURN.split(text_of_cell(row["text"], "text"))
    if parts[0].strip():
        raise ValueError(f"text begins with {parts[0].strip()[:40]!r}, before the first turn")
    turns = [
        said(ROLES[role.lower()], content.strip())
        for role, content in zip(parts[1::2], parts[2::2], strict=True)
        if content.strip()
    ]
    prompt, answer = split_turns(turns)
    return ReadRow(prompt=prompt, completion=[answer])


def has_turns(value: Any) -> bool:
    """Ask whether a text begins with a marked turn and holds one of the assistant; a mark within may be a quotation."""
    roles = [role.lower() for role in TURN.findall(str(value))]
    return "assistant" in roles and TURN.match(str(value).lstrip()) is not None


def _conversation(row: Columns, name: str) -> ReadRow:
    prompt, answer = split_turns(with_system(row, turns_of(row, row[name], name)))
    return ReadRow(prompt=prompt, completion=[answer], tools=tools_of(row))
