"""A line of an evaluation's predictions.jsonl: one test item with what the model answered."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from driftwheel.errors import ArtifactError
from driftwheel.records.json_form import as_json, from_json

PREDICTIONS = "predictions.jsonl"


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One test item with what the model answered."""

    id: str
    slice: str
    prompt: str
    """The last message, which is what the user wrote or what a tool returned."""
    expected: str
    answer: str
    label: str | None
    predicted: str | None
    is_correct: bool
    latency_seconds: float
    mean_logprob: float | None
    """Mean log-probability of the answer's tokens, in nats."""
    error: str | None = None
    """Why the engine refused the item; it counts as a wrong answer."""
    confidence: float | None = None
    """Probability that the model gave to its label, or to its whole answer."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    slices: tuple[str, ...] = ()
    """The slices of the test split that it belongs to, beside its own `slice`."""
    references: tuple[str, ...] = ()
    """Further right answers, beside the expected one."""
    grade: float | None = None
    """How good the answer is by the scorecard's criterion, from 0 to 1; None where that could not be told."""

    before: str = ""
    """What was said before the prompt, each turn after its speaker; empty where the prompt is all."""

    @property
    def right_answers(self) -> list[str]:
        """Every right answer, the expected one first."""
        return [self.expected, *self.references]


def write_predictions(folder: Path, items: Sequence[Prediction], name: str = PREDICTIONS) -> None:
    """Write items as JSON lines, for `read_predictions`."""
    lines = [json.dumps(as_json(item), ensure_ascii=False) + "\n" for item in items]
    (folder / name).write_text("".join(lines), encoding="utf-8")


def read_predictions(folder: Path, name: str = PREDICTIONS) -> list[Prediction]:
    """Return an evaluation's items; raises ArtifactError if they cannot be read."""
    try:
        with (folder / name).open("rb") as file:
            return [from_json(line, Prediction) for line in file]
    except (OSError, ValueError, msgspec.ValidationError) as error:
        raise ArtifactError(f"cannot read the answers in {folder}: {error}; remove it and evaluate again") from error
