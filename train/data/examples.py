"""A row of a Dataset's split, as its file holds it."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from driftwheel.errors import ArtifactError, DataError
from driftwheel.text.conversations import Message, Tool, last_text, text_of

NEW = "new"
"""The slice of a retrain's fresh rows; those that it replays are `old`, and so are all rows of a first Dataset."""
MOSTLY_LACKING = ("tools", "references", "author", "requests", "groups")
"""Fields of a row that came later, and that most rows lack."""


@dataclass(frozen=True)
class Example:
    """One row of a split; its fields are the keys of the split's JSON lines."""

    id: str
    prompt: list[Message]
    completion: list[Message]
    """The assistant's turn to learn; it may be a call of tools."""
    label: str | None
    group: str
    source: str = "files"
    slice: str = "old"
    time: str | None = None
    """When it was said, in UTC; ISO 8601 to the microsecond, so that texts sort as times do."""
    original: str | None = None
    """The id of the row that it was made from, if it was made by driftwheel."""
    model: str | None = None
    """The model that worded it, if it is a paraphrase."""
    tools: list[Tool] = field(default_factory=list)
    """What the assistant may call."""
    references: list[str] = field(default_factory=list)
    """Further right answers, beside the completion's."""
    author: str | None = None
    """Who said what the right answer is, where that is nobody who is trusted with it: an API key's id."""
    requests: list[str] = field(default_factory=list)
    """Ids of the logged requests whose labels say so; none of a row that a file held."""
    groups: dict[str, str] = field(default_factory=dict)
    """The groups that it belongs to by `dataset.slice_columns`, such as region and north."""

    @property
    def text(self) -> str:
        """The last user message."""
        return last_text(self.prompt)

    @property
    def conversation(self) -> str:
        """Everything that was said before the answer, without the system prompt that many rows share."""
        return "\n".join(text_of(m) for m in self.prompt if m["role"] not in ("system", "developer"))

    @property
    def ends_with_user(self) -> bool:
        """Whether a user spoke last, whose words may be put otherwise; a tool's result may not."""
        return self.prompt[-1]["role"] == "user"

    @property
    def answer(self) -> str:
        """The right answer."""
        return text_of(self.completion[-1])

    @property
    def answers(self) -> list[str]:
        """Every right answer, the one that is learned first."""
        return [self.answer, *self.references]

    def as_line(self) -> dict[str, object]:
        """Return the row as its file holds it, without what most rows lack, so that their hashes stay as they were."""
        return {key: value for key, value in vars(self).items() if value or key not in MOSTLY_LACKING}


def read_examples(path: Path) -> list[Example]:
    """Read one split's file; raises ArtifactError if it is gone, DataError if a row in it is none."""
    try:
        with path.open(encoding="utf-8") as file:
            return [Example(**json.loads(line)) for line in file]
    except OSError as error:
        raise ArtifactError(
            f"cannot read {path}: {error.strerror}; put it back (what was tested stays quarantined), or build the "
            "dataset again"
        ) from error
    except (json.JSONDecodeError, TypeError) as error:
        raise DataError(f"{path} has a row that is none of a Dataset ({error}); build the dataset again") from error
