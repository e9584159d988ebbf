"""Reads a prompt from a file, and puts it before a conversation.

A prompt is instructions, examples, or both. A text file is instructions; a JSON or YAML file has `instructions` and
`examples`, each with a `prompt` and a `completion`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml

from driftwheel.errors import DataError
from driftwheel.text.conversations import Message, Messages, said, text_of, with_text

FIRST = ("system", "developer")
"""Roles of a conversation's own instructions, which the prompt's stand before, in one message with them."""
BETWEEN = "\n\n"
"""What stands between the prompt's instructions and the conversation's own."""
TABLES = (".json", ".yaml", ".yml")


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One example: what a user says, and the answer that is right."""

    prompt: str
    completion: str


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What a conversation is put after."""

    instructions: str = ""
    examples: tuple[Shot, ...] = ()

    @property
    def turns(self) -> list[Message]:
        """The examples as earlier turns."""
        turns = [(said("user", shot.prompt), said("assistant", shot.completion)) for shot in self.examples]
        return [turn for pair in turns for turn in pair]


def read_prompt(path: Path) -> Prompt:
    """Return a file's prompt; raises DataError for one that cannot be read or says nothing."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        found = _table(path, text) if path.suffix.lower() in TABLES else Prompt(instructions=text.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the prompt {path}: {error}; name a UTF-8 file") from error
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise DataError(
            f"{path} is no prompt: {' '.join(str(error).split())}; it has `instructions` (text) and `examples` (a list "
            "of `prompt` and `completion`), or is a plain text file"
        ) from error
    if not found.instructions and not found.examples:
        raise DataError(f"{path} says nothing: write instructions, examples, or both")
    for number, shot in enumerate(found.examples, start=1):
        if not shot.prompt.strip() or not shot.completion.strip():
            raise DataError(f"{path}: example {number} lacks its prompt or its completion; write both")
    return found


def _table(path: Path, text: str) -> Prompt:
    told: Any = yaml.safe_load(text)  # JSON is YAML, too
    if isinstance(told, dict) and (unknown := sorted(map(str, told.keys() - {"instructions", "examples"}))):
        raise DataError(f"{path} has {unknown[0]!r}, which is no part of a prompt: those are instructions and examples")
    found = msgspec.convert(told, Prompt)
    return Prompt(instructions=found.instructions.strip(), examples=found.examples)


def with_prompt(prompt: Prompt, conversation: Messages) -> list[Message]:
    """Put a prompt before a conversation, whose own instructions follow the prompt's in the same message.

    Templates know one message of instructions, at the start; `prompted_template` says the same in Jinja.
    """
    own = list(conversation[:1]) if conversation and conversation[0]["role"] in FIRST else []
    rest = conversation[len(own) :]
    if prompt.instructions and own:
        own = [with_text(own[0], f"{prompt.instructions}{BETWEEN}{text_of(own[0])}")]
    elif prompt.instructions:
        own = [said("system", prompt.instructions)]
    return [*own, *prompt.turns, *rest]
