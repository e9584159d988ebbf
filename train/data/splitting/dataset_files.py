"""A Dataset's folder: split files written once, and read back row by row."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from driftwheel.errors import DataError
from driftwheel.files.artifacts import writing
from driftwheel.identity import content_hash, new_id
from driftwheel.records.dataset_report import DatasetReport
from driftwheel.records.nouns import Dataset
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from train.data.examples import Example, read_examples
from train.data.splitting.leaks import find_leaks, refuse_leaks
from train.data.splitting.mixing import mix
from train.data.splitting.splits import SPLITS, Splits, TimedSplits
from train.data.splitting.tally import Tally, describe

LEFT_OUT = "left_out"
"""File of the rows that were read and that no split holds, because the weight of their source is below 1."""

Rows = Mapping[str, Sequence[Mapping[str, Any]]]
"""Rows as their files hold them, by split; beside the three splits a file may hold preferences or rows left out."""


def read_splits(dataset: Dataset) -> Splits:
    """Read a Dataset's rows by split."""
    return {name: read_examples(Path(dataset.path) / f"{name}.jsonl") for name in SPLITS}


def read_left_out(dataset: Dataset) -> list[Example]:
    """Return the rows that the weights of their sources left out of a Dataset's training rows."""
    path = Path(dataset.path) / f"{LEFT_OUT}.jsonl"
    return read_examples(path) if path.is_file() else []


def write(
    settings: Settings,
    ledger: Ledger,
    timed: TimedSplits,
    quarantine: Sequence[Example],
    tally: Tally,
    *,
    origin: str,
    preferences: Rows | None = None,
) -> Dataset:
    """Write the splits, and preferences beside them, and record them as a Dataset, or find the one with the same rows.

    Raises DataError if a split is empty, or if one leaks into another or into the quarantine.
    """
    splits = mix(settings, timed, quarantine, tally)
    empty = [name for name, rows in splits.items() if not rows]
    if empty:
        raise DataError(
            f"no rows for the {' and '.join(empty)} split: too few groups; give more rows or raise the shares"
        )
    rows: dict[str, Sequence[Mapping[str, object]]]
    rows = {name: [e.as_line() for e in examples] for name, examples in splits.items()}
    kept = {e.id.partition("-r")[0] for e in splits["train"]}
    if left_out := [e.as_line() for e in timed.splits["train"] if e.id.partition("-r")[0] not in kept]:
        rows[LEFT_OUT] = left_out
    rows |= preferences or {}
    if found := find_stored(ledger, settings.project, rows):
        return found
    similarity = settings.dataset.near_duplicate_similarity
    leaks = find_leaks(splits, quarantine, similarity, timed.cuts, settings.train.learn, tally.shared)
    refuse_leaks("the new Dataset", leaks, "nothing was written; the splitting failed, please report it")
    tally.time_cuts = timed.cuts
    report = describe(settings.dataset, settings.base, settings.train.max_length, splits, tally)
    if preferences:
        report = replace(report, preferences={name: len(own) for name, own in preferences.items()})
    return store(ledger, settings.project, settings.root, rows, report, origin=origin)


def find_stored(ledger: Ledger, project: str, rows: Rows) -> Dataset | None:
    """Return the project's Dataset of exactly these rows, or None."""
    found = ledger.find(Dataset, project=project, content_hash=content_hash(rows), limit=1)
    return found[0] if found else None


def store(ledger: Ledger, project: str, root: Path, rows: Rows, report: DatasetReport, *, origin: str) -> Dataset:
    """Write rows, a file for each split, and record them as a Dataset."""
    digest = content_hash(rows)
    dataset_id = new_id("dataset", digest)
    target = root / "datasets" / dataset_id
    facts = {"dataset_id": dataset_id, "origin": origin, "rows_hash": digest, "report": asdict(report)}
    with writing(target, facts) as folder:
        for name, lines in rows.items():
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    dataset = Dataset(
        id=dataset_id,
        project=project,
        content_hash=digest,
        path=str(target),
        origin=origin,
        train_rows=len(rows["train"]),
        validation_rows=len(rows["validation"]),
        test_rows=len(rows["test"]),
        report=report,
    )
    ledger.add(dataset)
    return dataset
