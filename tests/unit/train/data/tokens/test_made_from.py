"""Who trains on a Dataset is told which file or setting is another one since it was built."""

import json
from typing import Any

from driftwheel.records.nouns import Dataset
from driftwheel.settings.data import SourceSettings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from train.data.tokens.made_from import made_from, newest_built, warning
from train.dataset import build_dataset


def write_rows(settings: Settings, name: str, count: int = 90) -> None:
    rows = [{"prompt": f"where is number {n * 7919} of {n}", "completion": "xyz"[n % 3]} for n in range(count)]
    path = settings.resolve(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def with_dataset(settings: Settings, **changes: Any) -> Settings:
    return settings.model_copy(update={"dataset": settings.dataset.model_copy(update=changes)})


def taken(settings: Settings, ledger: Ledger) -> tuple[Dataset | None, list[str]]:
    now = made_from(settings.dataset, settings.train.learn, settings.named_paths())
    return newest_built(ledger, settings.project, now)


def test_a_file_and_a_setting_that_changed_since_are_named_in_one_line(settings: Settings, ledger: Ledger) -> None:
    chosen = with_dataset(settings, sources=["seed.jsonl", "more"])
    assert taken(chosen, ledger) == (None, [])
    write_rows(chosen, "seed.jsonl")
    write_rows(chosen, "more/a.jsonl", 100)
    built = build_dataset(chosen, ledger)
    assert taken(chosen, ledger) == (built, [])
    assert warning(built, []) == ""
    write_rows(chosen, "seed.jsonl", 91)
    write_rows(chosen, "more/b.jsonl", 10)
    sources = ["seed.jsonl", "more", SourceSettings(path="gone.jsonl", weight=2)]
    other = with_dataset(chosen, sources=sources, clean="strip")
    other = other.model_copy(update={"train": other.train.model_copy(update={"learn": "all"})})
    found, changes = taken(other, ledger)
    assert found == built
    assert changes == [
        "gone.jsonl is new among the sources",
        "more has changed",
        "seed.jsonl has changed",
        'dataset.clean was "off" and is "strip"',
        'the weights of dataset.sources was {} and is {"gone.jsonl": 2.0}',
        'train.learn was "last" and is "all"',
    ]
    line = warning(built, changes)
    assert (line.count("\n"), built.id in line, "`driftwheel data build`" in line) == (1, True, True)


def test_build_and_train_name_the_same_dataset(settings: Settings, ledger: Ledger) -> None:
    """A build that found an older Dataset named that one, and a training took the newest."""
    write_rows(settings, "seed.jsonl")
    chosen = with_dataset(settings, sources=["seed.jsonl"])
    first = build_dataset(chosen, ledger)
    second = build_dataset(with_dataset(chosen, seed=1), ledger)
    assert second.id != first.id
    assert build_dataset(chosen, ledger) == first
    assert taken(chosen, ledger) == (first, [])
    assert taken(with_dataset(chosen, seed=1), ledger) == (second, [])
    same = with_dataset(chosen, max_rows_per_key=7)
    assert taken(same, ledger)[1] == [
        f"dataset.max_rows_per_key was {chosen.dataset.max_rows_per_key} and is 7",
        "dataset.seed was 1 and is 0",
    ]
    again = build_dataset(same, ledger)
    assert again.id == first.id, "the same rows"
    assert taken(same, ledger) == (again, [])


def test_a_source_named_by_hand_is_no_source_of_the_settings(settings: Settings, ledger: Ledger) -> None:
    write_rows(settings, "other.jsonl")
    write_rows(settings, "seed.jsonl")
    other = str(settings.resolve("other.jsonl"))
    build_dataset(with_dataset(settings, sources=["seed.jsonl"]), ledger, [other])
    changes = taken(with_dataset(settings, sources=["seed.jsonl"]), ledger)[1]
    assert changes == sorted([f"{other} is no source any more", "seed.jsonl is new among the sources"])


def test_of_what_a_retrain_made_nobody_can_tell(settings: Settings, ledger: Ledger) -> None:
    write_rows(settings, "seed.jsonl")
    chosen = with_dataset(settings, sources=["seed.jsonl"])
    built = build_dataset(chosen, ledger)
    made = ledger.change(built, origin="decision_1", report=type(built.report)())
    write_rows(settings, "seed.jsonl", 80)
    assert taken(chosen, ledger) == (made, [])
