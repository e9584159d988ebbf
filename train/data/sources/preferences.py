"""Stored preference rows, read back for training."""

import json
from pathlib import Path

from driftwheel.errors import DataError
from train.reading.raw_rows import RawRow

PreferenceRow = RawRow
"""A row as TRL takes it: `prompt` with `chosen` and `rejected` for DPO, with `completion` and `label` for KTO."""


def preference_path(dataset_path: Path, objective: str, split: str) -> Path:
    """Return where a Dataset keeps a split's preferences, if it has any of this kind."""
    return dataset_path / f"{objective}_{split}.jsonl"


def read_preferences(dataset_path: Path, objective: str, split: str) -> list[PreferenceRow]:
    """Return a split's preference rows as TRL takes them; raises DataError if the Dataset has none of this kind."""
    path = preference_path(dataset_path, objective, split)
    if not path.is_file():
        raise DataError(f"{dataset_path.name} holds no preferences for {objective}; `driftwheel train` builds its own")
    with path.open(encoding="utf-8") as file:  # splitlines would also cut at U+2028, which JSON does not escape
        return [json.loads(line) for line in file]
