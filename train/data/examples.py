"""A row of a Dataset's split, as its file holds it."""

import json
from dataclasses import dataclass
from pathlib import Path

from driftwheel.errors import ArtifactError, DataError
from train.data.row_shapes import Message


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
    time: str | None = None
    """When it was said, in UTC; ISO 8601 to the microsecond, so that texts sort as times do."""
    original: str | None = None
    """The id of the row that it was made from, if it was made by driftwheel."""
    model: str | None = None
    """The model that worded it, if it is a paraphrase."""

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


def read_conversations(dataset_path: Path, split: str) -> list[dict[str, list[Message]]]:
    """Return a split's prompt and completion messages; raises ArtifactError or DataError."""
    path = dataset_path / f"{split}.jsonl"
    try:
        with path.open(encoding="utf-8") as file:
            rows = [json.loads(line) for line in file if line.strip()]
        return [{"prompt": row["prompt"], "completion": row["completion"]} for row in rows]
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}; build the dataset again") from error
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise DataError(f"{path} has a row without prompt and completion ({error}); build the dataset again") from error
