"""Cross-validation: folds that share no group, a mean with its spread, and one statement at the end."""

import json
import statistics
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from driftwheel.errors import DataError, NotFoundError
from driftwheel.records.nouns import Dataset, TrainingRun
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from train.data.examples import Example
from train.runs import newest_run
from train.training.curves import read_curves
from train.tuning.cross_validate import as_text, cross_validate, earlier_results
from train.tuning.folds import make_folds

WORDS = (
    "alder",
    "birch",
    "cedar",
    "dogwood",
    "elm",
    "fir",
    "gum",
    "hazel",
    "ivy",
    "juniper",
    "kapok",
    "larch",
    "maple",
    "nutmeg",
    "oak",
    "pine",
)


def rows_of(path: Path) -> list[Example]:
    return [Example(**json.loads(line)) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture
def grouped(dataset: Dataset) -> Dataset:
    """The tiny dataset with other rows: 16 groups of three, two labels, and near duplicates across two groups."""
    texts = {g: f"{w} {w[::-1]} number {g * 7919}" for g, w in enumerate(WORDS)}
    texts[1] = texts[0] + "!"
    rows = [
        Example(
            f"{g}-{n}",
            [{"role": "user", "content": texts[g] + "?" * n}],
            [{"role": "assistant", "content": "a"}],
            ("morning", "evening")[g % 2],
            f"group{g}",
        )
        for g in range(16)
        for n in range(3)
    ]
    tested = [replace(rows[0], id="tested", group="tested", prompt=[{"role": "user", "content": "quite other words"}])]
    for split, part in (("train", rows[:42]), ("validation", rows[42:]), ("test", tested)):
        text = "".join(json.dumps(asdict(e)) + "\n" for e in part)
        (Path(dataset.path) / f"{split}.jsonl").write_text(text, encoding="utf-8")
    return dataset


def test_a_fold_with_replayed_rows_alone_is_refused(settings: Settings, grouped: Dataset) -> None:
    for split in ("train", "validation"):
        path = Path(grouped.path) / f"{split}.jsonl"
        rows = [replace(e, slice="new" if e.group in ("group4", "group9") else "old") for e in rows_of(path)]
        path.write_text("".join(json.dumps(asdict(e)) + "\n" for e in rows), encoding="utf-8")
    with pytest.raises(DataError, match="folds hold out none of the 6 new rows; give fewer folds"):
        make_folds(settings.dataset, settings.root, grouped, 4)


def test_folds_hold_out_every_row_once_and_never_a_part_of_a_group(settings: Settings, grouped: Dataset) -> None:
    folds = make_folds(settings.dataset, settings.root, grouped, 4)
    held_out = [rows_of(fold.path / "validation.jsonl") for fold in folds]
    assert sorted(e.id for part in held_out for e in part) == sorted(f"{g}-{n}" for g in range(16) for n in range(3))
    homes: dict[str, set[int]] = {}
    for number, part in enumerate(held_out):
        for e in part:
            homes.setdefault(e.group, set()).add(number)
        assert not {e.group for e in part} & {e.group for e in rows_of(folds[number].path / "train.jsonl")}
        assert abs(Counter(e.label for e in part)["morning"] - 6) <= 3
    assert all(len(home) == 1 for home in homes.values())
    assert homes["group0"] == homes["group1"]
    assert make_folds(settings.dataset, settings.root, grouped, 4) == folds


def test_gives_the_mean_and_standard_error_at_the_step_where_the_mean_is_least(
    train_settings: Settings, ledger: Ledger, grouped: Dataset
) -> None:
    result = cross_validate(train_settings, ledger, grouped.id, 3)
    runs = [ledger.get(TrainingRun, id) for id in result.run_ids]
    assert [r.settings["fold"]["number"] for r in runs] == [1, 2, 3]
    curves = [{p.step: p.eval_loss for p in read_curves(Path(r.path)) if p.eval_loss} for r in runs]
    means = {step: statistics.fmean(c[step] for c in curves) for step in (2, 4, 6)}
    assert result.loss == pytest.approx(min(means.values()))
    assert means[result.step] == min(means.values())
    losses = [c[result.step] for c in curves]
    assert result.standard_error == pytest.approx((statistics.variance(losses) / 3) ** 0.5)
    with pytest.raises(NotFoundError, match="no finished run"):
        newest_run(ledger, "support")


def test_says_at_the_end_which_of_the_tried_settings_to_use(
    train_settings: Settings, ledger: Ledger, grouped: Dataset
) -> None:
    short = train_settings.train.model_copy(update={"max_steps": 2})
    train_settings = train_settings.model_copy(update={"train": short})
    slow = train_settings.model_copy(update={"train": short.model_copy(update={"learning_rate": 1e-6})})
    first = cross_validate(slow, ledger, grouped.id, 2)
    assert (
        "train.learning_rate=1e-06"
        in as_text(slow.path, first, earlier_results(slow.root, slow.dataset.seed, grouped.id, 2)).splitlines()[-1]
    )
    cross_validate(train_settings, ledger, grouped.id, 2)
    text = as_text(slow.path, first, earlier_results(slow.root, slow.dataset.seed, grouped.id, 2))
    assert text.splitlines()[-1].startswith("use these:  driftwheel train --set train.learning_rate=0.01 --set")
    assert text.count("best") == 2
    assert ledger.count(TrainingRun) == 4


def test_refuses_more_folds_than_groups(settings: Settings, grouped: Dataset) -> None:
    with pytest.raises(DataError, match="only 15 groups of rows for 16 folds"):
        make_folds(settings.dataset, settings.root, grouped, 16)


def test_folds_that_end_a_step_apart_are_compared_at_their_ends(
    train_settings: Settings, ledger: Ledger, grouped: Dataset
) -> None:
    changes = {"eval_steps": 50, "max_steps": -1, "num_train_epochs": 0.5, "per_device_train_batch_size": 1}
    seldom = train_settings.model_copy(update={"train": train_settings.train.model_copy(update=changes)})
    result = cross_validate(seldom, ledger, grouped.id, 5)
    runs = [ledger.get(TrainingRun, id) for id in result.run_ids]
    assert len({r.metrics.steps for r in runs}) > 1
    assert result.losses == [r.metrics.eval_loss for r in runs]
    assert result.is_last_step
