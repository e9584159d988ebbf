"""Files become an immutable Dataset with splits that do not leak.

Rows that share a group, a conversation or a prompt that is nearly the same stay in one split. The test split of a
published version is quarantined: neither it nor what resembles it enters a later training or validation split.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from driftwheel.answers import label_of
from driftwheel.artifacts import writing
from driftwheel.config import Settings
from driftwheel.errors import DataError
from driftwheel.ledger import Ledger
from driftwheel.personal_data import redact
from driftwheel.records import Dataset, content_hash, new_id
from train.data.cleaning import clean_answer, clean_prompt
from train.data.dataset_report import Report, describe
from train.data.duplicates import text_hash
from train.data.examples import Example, read_examples
from train.data.formats import Row, read_file
from train.data.leaks import HeldOut, find_leaks, quarantined, refuse_leaks
from train.data.mixing import mix
from train.data.splits import SPLITS, Deal, Splits, TimedSplits, group_numbers, split_by_label, split_by_time

Rows = Mapping[str, Sequence[Mapping[str, Any]]]
"""Rows as their files hold them, by split; beside the three splits a file may hold preferences."""


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


def read_splits(dataset: Dataset) -> Splits:
    """Read a Dataset's rows by split."""
    return {name: read_examples(Path(dataset.path) / f"{name}.jsonl") for name in SPLITS}


def split(settings: Settings, deal: Deal) -> TimedSplits:
    """Split by time where the settings name its column, else by label."""
    if settings.dataset.time_column:
        return split_by_time(deal)
    return TimedSplits(split_by_label(deal, settings.dataset.seed))


def clean(settings: Settings, rows: Iterable[Row], report: Report) -> list[Example]:
    """Return the rows with clean texts and without repetitions; the report counts what was dropped."""
    seen: dict[str, str] = {}
    examples: list[Example] = []
    for row in rows:
        prompt = [{**m, "content": _treated(clean_prompt(m["content"]), settings, report)} for m in row.prompt]
        answer = _treated(clean_answer(row.answer), settings, report)
        if not answer or not all(m["content"] for m in prompt):
            report.dropped["empty after cleaning"] += 1
            continue
        key = content_hash([(m["role"], text_hash(m["content"])) for m in prompt])
        if key in seen:
            report.dropped["duplicate" if seen[key] == answer else "duplicate with another answer"] += 1
            continue
        seen[key] = answer
        examples.append(
            Example(
                id=key[:16],
                prompt=prompt,
                completion=[{"role": "assistant", "content": answer}],
                label=label_of(answer, settings.dataset.label_field),
                group=row.group or key[:16],
                time=row.time.isoformat(timespec="microseconds") if row.time else None,
            )
        )
        report.places[examples[-1].id] = row.place
        if row.weight != 1:
            report.weights[examples[-1].id] = row.weight
    return examples


def _treated(text: str, settings: Settings, report: Report) -> str:
    """Count personal data, and replace it if the settings say so."""
    redacted, found = redact(text)
    report.personal_data += found
    return redacted if settings.dataset.redact else text


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


def stop_at_too_few(settings: Settings, examples: Sequence[Example], report: Report) -> None:
    """Raise DataError if fewer rows are left than `dataset.min_rows`."""
    if len(examples) < settings.dataset.min_rows:
        dropped = ", ".join(f"{n} {why}" for why, n in report.dropped.items()) or "none dropped"
        raise DataError(
            f"only {len(examples)} of {report.rows_in} rows can be used ({dropped}); dataset.min_rows asks for "
            f"{settings.dataset.min_rows}: give more rows"
        )


def write(
    settings: Settings,
    ledger: Ledger,
    timed: TimedSplits,
    quarantine: Sequence[Example],
    report: Report,
    *,
    origin: str,
) -> Dataset:
    """Write the splits and record them as a Dataset, or find the one with the same rows.

    Raises DataError if a split is empty, or if one leaks into another or into the quarantine.
    """
    splits = mix(settings, timed, quarantine, report)
    empty = [name for name, rows in splits.items() if not rows]
    if empty:
        raise DataError(
            f"no rows for the {' and '.join(empty)} split: too few groups; give more rows or raise the shares"
        )
    rows = {name: [asdict(e) for e in examples] for name, examples in splits.items()}
    if found := find_stored(settings, ledger, rows):
        return found
    leaks = find_leaks(splits, quarantine, settings.dataset.near_duplicate_similarity, timed.cuts)
    refuse_leaks("the new Dataset", leaks, "nothing was written; the splitting failed, please report it")
    report.time_cuts = timed.cuts
    return store(settings, ledger, rows, describe(settings, splits, report), origin=origin)


def find_stored(settings: Settings, ledger: Ledger, rows: Rows) -> Dataset | None:
    """Return the project's Dataset of exactly these rows, or None."""
    found = ledger.find(Dataset, project=settings.project, content_hash=content_hash(rows), limit=1)
    return found[0] if found else None


def store(settings: Settings, ledger: Ledger, rows: Rows, report: dict[str, Any], *, origin: str) -> Dataset:
    """Write rows, a file for each split, and record them as a Dataset."""
    digest = content_hash(rows)
    dataset_id = new_id("dataset", digest)
    target = settings.root / "datasets" / dataset_id
    facts = {"dataset_id": dataset_id, "origin": origin, "rows_hash": digest, "report": report}
    with writing(target, facts) as folder:
        for name, lines in rows.items():
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    dataset = Dataset(
        id=dataset_id,
        project=settings.project,
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
