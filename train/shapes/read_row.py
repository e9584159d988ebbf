"""What a shape makes of a row: the conversation to learn from, and what the file says about its answer."""

from collections.abc import Callable
from dataclasses import dataclass, field

from driftwheel.settings.data import DatasetSettings
from driftwheel.text.conversations import Message, Tool
from train.shapes.columns import Columns

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
    rejected: list[Message] | None = None
    """An answer to the same prompt that is worse; it is never learned."""
    is_good: bool | None = None
    """What a person thought of the answer; one that is bad is never learned."""


@dataclass(frozen=True)
class Shape:
    """One way to write a row down."""

    fits: Callable[[Columns, DatasetSettings], bool]
    """Whether a row has this shape's columns."""
    read: Callable[[Columns, DatasetSettings], PromptAndAnswer | ReadRow]
    """Raises LookupError, TypeError, ValueError or AttributeError, with what is wrong, for a row that is broken."""
