"""Builds an immutable Dataset from files, with splits that do not leak.

Rows that share a group, a conversation or a prompt that is nearly the same stay in one split. The test split of a
published version is quarantined: neither it nor what resembles it enters a later training or validation split.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from driftwheel.errors import DataError
from driftwheel.records.dataset_report import MadeFrom
from driftwheel.records.nouns import Dataset
from driftwheel.settings.data import DatasetSettings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from train.data.examples import Example, read_examples
from train.data.splitting.clean_rows import clean, split, stop_at_cut, stop_at_too_few
from train.data.splitting.dataset_files import write
from train.data.splitting.leaks import HeldOut, quarantined, refuse_leaks
from train.data.splitting.preference_files import deal_preferences, learnable
from train.data.splitting.shared_frame import measured
from train.data.splitting.source_rows import read_all, too_many_broken
from train.data.splitting.splits import Deal, group_numbers
from train.data.splitting.tally import Tally
from train.data.tokens.learned_tokens import Learn
from train.data.tokens.made_from import made_from
from train.evaluation.criterion_choice import refuse_misfit


def build_dataset(settings: Settings, ledger: Ledger, sources: Sequence[str | Path] | None = None) -> Dataset:
    """Build a Dataset from files, or find the one that was built from the same rows and settings.

    Rows like an earlier test row go to the test split again, so that a file that grew can be built again.
    Raises DataError if a file cannot be used, too many rows are broken, too few are left, or, where `dataset.on_leak`
    says so, rows are like earlier test rows. Raises ConfigError if `evaluate.criterion` cannot grade such answers.
    """
    tally = Tally()
    weighted = [(source, 1.0) for source in sources] if sources else settings.weighted_paths()
    rows = read_all(settings.dataset, weighted, tally)
    if reason := too_many_broken(settings.dataset, tally):
        raise DataError(reason)
    examples = clean(settings.dataset, learnable(rows, tally), tally)
    quarantine = quarantined(ledger, settings.project)
    tally.shared = measured(e.conversation for e in examples)
    examples, tested = _treat_quarantined(settings.dataset, examples, quarantine, tally, settings.train.learn)
    stop_at_too_few(settings.dataset, examples, tally)
    stop_at_cut(settings.base, settings.train.max_length, examples, tally)
    groups = group_numbers(examples, settings.dataset.near_duplicate_similarity, settings.train.learn, tally.shared)
    trained = _trained_ids(ledger, settings.project)
    deal = Deal(
        examples,
        groups,
        {"test": settings.dataset.test_share, "validation": settings.dataset.validation_share},
        pinned={group for e, group in zip(examples, groups, strict=True) if e.id in tested},
        trained={group for e, group in zip(examples, groups, strict=True) if e.id in trained},
    )
    timed = split(settings.dataset, deal)
    answers = [example.answer for example in examples]
    refuse_misfit(settings.evaluate, settings.dataset.label_field, answers, len(timed.splits["test"]))
    preferences = deal_preferences(settings.dataset, rows, timed.splits, quarantine, tally)
    built = write(settings, ledger, timed, quarantine, tally, origin="files", preferences=preferences)
    named = settings.named_paths()
    names = {path: name for name, path in named.items()}
    paths = {names.get(str(source), str(source)): str(source) for source in sources} if sources else named
    made = made_from(settings.dataset, settings.train.learn, paths)
    # The same rows may come of other settings; then the row says which they were last.
    return built if built.report.made_from == made else _noted(ledger, built, made)


def _noted(ledger: Ledger, dataset: Dataset, made: MadeFrom) -> Dataset:
    return ledger.change(dataset, report=replace(dataset.report, made_from=made))


def _treat_quarantined(
    settings: DatasetSettings, examples: list[Example], quarantine: Sequence[Example], tally: Tally, learn: Learn
) -> tuple[list[Example], set[str]]:
    """Do what `dataset.on_leak` says with rows like earlier test rows; return the rows, and the ids of those."""
    leaks = HeldOut(quarantine, settings.near_duplicate_similarity, shared=tally.shared).leaks(examples, learn)
    if settings.on_leak == "refuse":
        remedy = "take them out, or set dataset.on_leak to `test` (back to the test split) or `drop`"
        refuse_leaks("the data files", [replace(leak, place=tally.places[leak.row.id]) for leak in leaks], remedy)
    tested = {leak.row.id for leak in leaks}
    if settings.on_leak == "drop":
        tally.dropped["like an earlier test row"] += len(tested)
        return [e for e in examples if e.id not in tested], set()
    tally.tested_before = len(tested)
    return examples, tested


def _trained_ids(ledger: Ledger, project: str) -> set[str]:
    """Return the ids of the rows in every training split that the project ever had."""
    datasets = ledger.find(Dataset, project=project)
    return {e.id for dataset in datasets for e in read_examples(Path(dataset.path) / "train.jsonl")}
