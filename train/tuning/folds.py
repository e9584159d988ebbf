"""Cuts a Dataset's training and validation rows into K folds of whole groups, with labels in equal shares.

Rows that share a group or a near-duplicate prompt stay in one fold, as they stay in one split.
The test split is left out, and what driftwheel made of a row judges in no fold.
"""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from driftwheel.errors import DataError
from driftwheel.files import artifacts
from driftwheel.records.nouns import Dataset
from driftwheel.settings.data import DatasetSettings
from train.data.examples import NEW, Example
from train.data.splitting.dataset_files import read_splits
from train.data.splitting.splits import group_numbers
from train.data.tokens.learned_tokens import Learn
from train.runs import Fold


def make_folds(
    settings: DatasetSettings, root: Path, dataset: Dataset, count: int, learn: Learn = "last"
) -> list[Fold]:
    """Write a Dataset's folds, or find them written.

    Raises DataError if it has fewer groups than folds, or if a fold of a retrain's holds out no new row.
    """
    seed = settings.seed
    parent = folds_path(root, seed, dataset.id, count, learn)
    folds = [Fold(number, count, seed, parent / str(number)) for number in range(1, count + 1)]
    if all(artifacts.is_complete(fold.path) for fold in folds):
        return folds
    splits = read_splits(dataset)
    examples = [*splits["train"], *splits["validation"]]
    parts = _held_out(settings, dataset, examples, count, learn)
    new = {i for i, e in enumerate(examples) if e.slice == NEW and e.original is None}
    # Replayed rows alone may not judge what is there to learn the new ones.
    if empty := sum(new.isdisjoint(held_out) for held_out in parts) if new else 0:
        raise DataError(f"{empty} of {count} folds hold out none of the {len(new)} new rows; give fewer folds")
    for fold, held_out in zip(folds, parts, strict=True):
        with artifacts.writing(fold.path, {"dataset_id": dataset.id, **fold.facts()}) as folder:
            _write(folder / "train.jsonl", [e for i, e in enumerate(examples) if i not in held_out])
            judging = [e for i, e in enumerate(examples) if i in held_out and e.original is None]
            _write(folder / "validation.jsonl", judging)
    return folds


def folds_path(root: Path, seed: int, dataset_id: str, count: int, learn: Learn = "last") -> Path:
    """Return the folder of a Dataset's folds; which rows may be parted hangs on which turns are learned."""
    return root / "folds" / f"{dataset_id}-{count}-{seed}{'-all' if learn == 'all' else ''}"


def _held_out(
    settings: DatasetSettings, dataset: Dataset, examples: list[Example], count: int, learn: Learn
) -> list[set[int]]:
    groups = group_numbers(examples, settings.near_duplicate_similarity, learn, dataset.report.shared)
    if len(set(groups)) < count:
        raise DataError(f"only {len(set(groups))} groups of rows for {count} folds; give more rows or fewer folds")
    labels = [str(e.label) for e in examples]
    # A task of free text has as many labels as rows, and a rare label cannot be in every fold.
    is_stratified = min(Counter(labels).values()) >= count
    kind = StratifiedGroupKFold if is_stratified else GroupKFold
    splitter = kind(n_splits=count, shuffle=True, random_state=settings.seed)
    return [set(held_out.tolist()) for _, held_out in splitter.split(examples, labels, groups)]


def _write(path: Path, examples: list[Example]) -> None:
    lines = (json.dumps(asdict(e), ensure_ascii=False) + "\n" for e in examples)
    path.write_text("".join(lines), encoding="utf-8")
