"""A row of a Dataset's split, as its file holds it."""

from dataclasses import dataclass

from train.formats import Message


@dataclass(frozen=True)
class Example:
    """One row of a split; its fields are the keys of the split's JSON lines."""

    id: str
    prompt: list[Message]
    completion: list[Message]
    label: str | None
    group: str
    source: str = "files"
    slice: str = "old"

    @property
    def text(self) -> str:
        """The last user message."""
        return next((m["content"] for m in reversed(self.prompt) if m["role"] == "user"), "")

    @property
    def conversation(self) -> str:
        """Everything that was said before the answer, without the system prompt that many rows share."""
        return "\n".join(m["content"] for m in self.prompt if m["role"] != "system")

    @property
    def answer(self) -> str:
        """The right answer."""
        return self.completion[-1]["content"]
