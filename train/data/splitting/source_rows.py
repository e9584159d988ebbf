"""Reads the files of `dataset.sources`: all their rows for a first Dataset, and for a retrain those that are new."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from driftwheel.errors import DataError
from driftwheel.identity import content_hash
from driftwheel.records.nouns import Dataset, ModelVersion, ModelVersionStatus
from driftwheel.settings.data import HUB, DatasetSettings
from driftwheel.store.ledger import Ledger
from train.data.examples import Example
from train.data.sources.formats import Reading, Row, read_sources
from train.data.sources.row_shapes import PLAIN
from train.data.splitting.clean_rows import clean
from train.data.splitting.dataset_files import read_left_out, read_splits
from train.data.splitting.preference_files import learnable
from train.data.splitting.tally import Tally

log = structlog.get_logger()


Weighted = Iterable[tuple[str, float] | tuple[str | Path, float]]
"""Sources with their weights."""


def read_all(settings: DatasetSettings, weighted: Weighted, tally: Tally) -> list[Row]:
    """Return the rows of files, each with the weight of its file, and count them and the broken ones.

    Raises DataError for a file that cannot be used.
    """
    rows: list[Row] = []
    columns = set[str]()
    for source, weight in weighted:
        for reading in read_sources(settings, [source]):
            _refuse_plain_text(reading)
            columns |= reading.columns
            rows += [replace(row, weight=weight) for row in reading.rows]
            tally.broken += reading.broken
            tally.note_unused(reading)
    missing = [name for name in settings.slice_columns if name not in columns]
    if rows and missing:
        raise DataError(
            f"no row has the column {missing[0]!r} that dataset.slice_columns names; without it no such group is judged"
        )
    if rows and (unknown := nowhere(settings, columns)):
        raise DataError(unknown)
    if rows and settings.group_column is not None and settings.group_column not in columns:
        raise DataError(
            f"no row has the column {settings.group_column!r} that dataset.group_column names; without it one group "
            "would be learned and judged on"
        )
    tally.rows_in += len(rows) + len(tally.broken)
    return rows


def nowhere(settings: DatasetSettings, columns: Collection[str]) -> str | None:
    """Say that no row has the column that a setting names for prompt or answer; None where rows have it.

    Without this a column of a usual name would be learned instead of the one that was meant.
    """
    for key in ("prompt_column", "completion_column"):
        name = getattr(settings, key)
        if name != DatasetSettings.model_fields[key].default and name not in columns:
            return f"no row has the column {name!r} that dataset.{key} names; correct it, or leave it out"
    return None


def too_many_broken(settings: DatasetSettings, tally: Tally) -> str | None:
    """Say so where more rows are broken than may be; None else."""
    if len(tally.broken) <= settings.max_broken_share * tally.rows_in:
        return None
    shown = "; ".join(f"{b.place} {b.reason}" for b in tally.broken[:3])
    count = f"{len(tally.broken)} of {tally.rows_in} rows are broken"
    return f"{count}, more than dataset.max_broken_share allows: {shown}"


@dataclass(frozen=True, kw_only=True)
class InSources:
    """What a retrain finds in the source files."""

    fresh: list[Example]
    """Rows that no published version has had in its Dataset: new ones, new answers."""
    judged: list[Row]
    """Every row that says which answer is better, or whether one is good; these are few, and are learned each time."""


def new_in_sources(
    settings: DatasetSettings, ledger: Ledger, project: str, weighted: Weighted, tally: Tally
) -> InSources:
    """Return what is new in the source files, and the preferences in them.

    A file that is gone does not stop a retrain, because what it held may have been learned already; the log names it.
    Raises DataError for a file that cannot be used.
    """
    read = Tally()
    given = read_all(settings, _present(weighted), read)
    if reason := too_many_broken(settings, read):
        # The labels of the traffic are at hand all the same, and a retrain does not wait for somebody's file.
        log.warning("the source files are left out of this retrain", reason=reason)
        given = []
    known = known_rows(ledger, project)
    fresh = [e for e in clean(settings, learnable(given, read), read) if not _said(e) <= known]
    ids = {e.id for e in fresh}
    tally.rows_in += len(fresh) + len(read.broken)
    tally.broken += read.broken
    tally.places |= {id: place for id, place in read.places.items() if id in ids}
    tally.weights |= {id: weight for id, weight in read.weights.items() if id in ids}
    judged = [row for row in given if row.rejected is not None or row.is_good is not None]
    return InSources(fresh=fresh, judged=judged)


def _refuse_plain_text(reading: Reading) -> None:
    if reading.format == PLAIN:
        raise DataError(
            f"{reading.name} is plain text without questions and answers; a Dataset holds answers to learn, so "
            "continue the pre-training elsewhere and name its result as model.base"
        )


def _present(weighted: Weighted) -> list[tuple[str | Path, float]]:
    found = []
    for path, weight in weighted:
        if str(path).startswith(HUB) or Path(path).exists():
            found.append((path, weight))
        else:
            log.warning("a source file is gone; the retrain goes on without what may be new in it", path=str(path))
    return found


def known_rows(ledger: Ledger, project: str) -> set[str]:
    """Return question and answers of each row in the Dataset of a version that was published, whatever its split.

    A row that was left out by the weight of its source was read like the others, and is not new either.
    """
    versions = ledger.find(ModelVersion, project=project, status=ModelVersionStatus.PUBLISHED)
    datasets = [ledger.get(Dataset, dataset_id) for dataset_id in {version.dataset_id for version in versions}]
    read = [[*read_splits(dataset).values(), read_left_out(dataset)] for dataset in datasets]
    return {said for splits in read for rows in splits for e in rows for said in _said(e)}


def _said(example: Example) -> set[str]:
    """Return what tells a row from others: its question with each of its right answers, which training has as rows."""
    asked, _, _ = example.id.partition("-r")
    further = [[{"role": "assistant", "content": text}] for text in example.references]
    return {content_hash([asked, completion]) for completion in (example.completion, *further)}
