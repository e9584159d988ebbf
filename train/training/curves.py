"""A run's learning curves: curves.jsonl in its folder, one point a line, appended while it trains."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

CURVES = "curves.jsonl"


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """What was logged at one step; a step that was validated has a point of its own, without a training loss."""

    step: int
    epoch: float = 0.0
    loss: float | None = None
    """In nats a token, as is the next."""
    eval_loss: float | None = None
    learning_rate: float | None = None
    tokens: float | None = None
    """Tokens so far, without padding."""
    tokens_per_second: float | None = None
    elapsed_seconds: float = 0.0
    """Training time so far, including that of earlier attempts."""


def read_curves(run_path: Path) -> list[CurvePoint]:
    """Return the points of a run's curves, without a last line that a kill cut short."""
    path = run_path / CURVES
    if not path.is_file():
        return []
    points = []
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                points.append(msgspec.convert(json.loads(line), CurvePoint))
            except (json.JSONDecodeError, msgspec.ValidationError):
                break
    return points


def as_line(point: CurvePoint) -> str:
    """Return a point as its line of the file."""
    return json.dumps(asdict(point)) + "\n"  # msgspec would write null for a loss that is no number any more
