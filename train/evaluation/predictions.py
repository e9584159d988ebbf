"""Stored predictions of an evaluation, read back item by item."""

import json
from pathlib import Path

from train.evaluation.scorecard import Scored


def read_predictions(folder: Path) -> list[Scored]:
    """Return an evaluation's scored items."""
    with (folder / "predictions.jsonl").open(encoding="utf-8") as file:
        return [Scored(**json.loads(line)) for line in file]
