"""Files become an immutable Dataset with splits that do not leak.

Rows that share a group, a conversation or a prompt that is nearly the same stay in one split. The test split of a
published version is quarantined: neither it nor what resembles it enters a later training or validation split.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from driftwheel.errors import DataError
from driftwheel.records import Dataset
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from train.data.clean_rows import clean, split, stop_at_too_few
from train.data.dataset_files import write
from train.data.dataset_report import Report
from train.data.examples import Example, read_examples
from train.data.formats import Row, read_file
from train.data.leaks import HeldOut, quarantined, refuse_leaks
from train.data.splits import Deal, group_numbers


def build_dataset(settings: Settings, ledger: Ledger, sources: Sequence[Path] | None = None) -> Dataset:
    """Build a Dataset from files, or find the one that was built from the same rows and settings.

    Rows like an earlier test row go to the test split again, so that a file that grew can be built again.
    Raises DataError if a file cannot be used, too many rows are broken, too few are left, or, where `dataset.on_leak`
    says so, rows are like earlier test rows.
    """
    report = Report()
    rows: list[Row] = []
    weighted = [(settings.resolve(s.path), s.weight) for s in settings.dataset.weighted_sources()]
    for path, weight in [(path, 1.0) for path in sources] if sources else weighted:
        reading = read_file(path, settings.dataset)
        rows += [replace(row, weight=weight) for row in reading.rows]
        report.broken += reading.broken
    report.rows_in = len(rows) + len(report.broken)
    _stop_at_too_many_broken(settings, report)
    examples = clean(settings, rows, report)
    quarantine = quarantined(ledger, settings.project)
    examples, tested = _treat_quarantined(settings, examples, quarantine, report)
    stop_at_too_few(settings, examples, report)
    groups = group_numbers(examples, settings.dataset.near_duplicate_similarity)
    trained = _trained_ids(settings, ledger)
    deal = Deal(
        examples,
        groups,
        {"test": settings.dataset.test_share, "validation": settings.dataset.validation_share},
        pinned={group for e, group in zip(examples, groups, strict=True) if e.id in tested},
        trained={group for e, group in zip(examples, groups, strict=True) if e.id in trained},
    )
    return write(settings, ledger, split(settings, deal), quarantine, report, origin="files")


def _treat_quarantined(
    settings: Settings, examples: list[Example], quarantine: Sequence[Example], report: Report
) -> tuple[list[Example], set[str]]:
    """Do what `dataset.on_leak` says with rows like earlier test rows; return the rows, and the ids of those."""
    leaks = HeldOut(quarantine, settings.dataset.near_duplicate_similarity).leaks(examples)
    if settings.dataset.on_leak == "refuse":
        remedy = "take them out, or set dataset.on_leak to `test` (back to the test split) or `drop`"
        refuse_leaks("the data files", [replace(leak, place=report.places[leak.row.id]) for leak in leaks], remedy)
    tested = {leak.row.id for leak in leaks}
    if settings.dataset.on_leak == "drop":
        report.dropped["like an earlier test row"] += len(tested)
        return [e for e in examples if e.id not in tested], set()
    report.tested_before = len(tested)
    return examples, tested


def _trained_ids(settings: Settings, ledger: Ledger) -> set[str]:
    """Return the ids of the rows in every training split that the project ever had."""
    datasets = ledger.find(Dataset, project=settings.project)
    return {e.id for dataset in datasets for e in read_examples(Path(dataset.path) / "train.jsonl")}


def _stop_at_too_many_broken(settings: Settings, report: Report) -> None:
    if len(report.broken) > settings.dataset.max_broken_share * report.rows_in:
        shown = "; ".join(f"{b.place} {b.reason}" for b in report.broken[:3])
        count = f"{len(report.broken)} of {report.rows_in} rows are broken"
        raise DataError(f"{count}, more than dataset.max_broken_share allows: {shown}")
