"""Rows that would give an answer away are found and named, and nothing is trained on them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from driftwheel.errors import DataError
from driftwheel.records.nouns import Dataset, TrainingRun, TrainingRunStatus
from driftwheel.records.scorecard import Scorecard
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.text.conversations import said
from tests.support.versions import add_with_parents, published_version, run_stub
from train.data.examples import Example
from train.data.splitting.leaks import HeldOut, check_dataset, find_leaks, leaks_into_judge, refuse_leaks
from train.data.splitting.splits import group_numbers
from train.finetune import finetune
from train.publish import refuse_learned


def row(name: str, text: str, group: str | None = None, time: str | None = None) -> Example:
    return Example(name, [{"role": "user", "content": text}], [], "x", group or name, time=time)


TESTED = row("t", "where is the parcel that i ordered on monday", "user 7")


@pytest.mark.parametrize(
    ("learned", "kind"),
    [
        (row("a", "where is the parcel that i ordered on monday"), "exact"),
        (row("a", "WHERE is the parcel, that i ordered on Monday?"), "folded"),
        (row("a", "where is the parsel that i ordered on monday"), "near"),
        (row("a", "hi there, where is the parcel that i ordered on monday"), "contained"),
        (row("a", "please cancel my plan", "user 7"), "group"),
        (row("a", "please cancel my plan", time="2026-02-01T00:00:00.000000+00:00"), "future"),
        (row("a", "please cancel my plan", time="2026-01-01T00:00:00.000000+00:00"), None),
    ],
    ids=["same", "case", "typo", "greeting", "same user", "too new", "clean"],
)
def test_each_kind_of_leak_is_found_and_named(learned: Example, kind: str | None) -> None:
    held_out = HeldOut([TESTED], 0.9, cut="2026-01-15T00:00:00.000000+00:00")
    assert [leak.kind for leak in held_out.leaks([learned])] == ([kind] if kind else [])


def test_a_row_is_named_once_by_its_strictest_leak() -> None:
    leaks = HeldOut([TESTED, replace(TESTED, id="t2", group="user 8")], 0.9).leaks([replace(TESTED, id="a")])
    assert [(leak.kind, leak.row.id) for leak in leaks] == [("exact", "a")]


def test_the_earlier_part_of_a_conversation_leaks_into_the_whole() -> None:
    turns = [
        said("user", "my router stopped to work yesterday"),
        said("assistant", "which lamp is on"),
        said("user", "the red one"),
    ]
    whole = replace(TESTED, prompt=turns)
    assert [leak.kind for leak in HeldOut([whole], 0.9).leaks([replace(TESTED, prompt=turns[:1], group="g")])] == [
        "contained"
    ]


def test_leaks_between_every_two_splits_and_from_the_quarantine_are_found() -> None:
    rows = [
        row(f"r{n}", text) for n, text in enumerate(["i forgot my password again", "the screen is cracked", "hello"])
    ]
    other = row("q", "the charger never came with the phone")
    splits = {"train": rows, "validation": [replace(rows[0], id="v", group="v")], "test": [replace(rows[1], group="z")]}
    leaks = find_leaks({**splits, "train": [*rows, replace(other, id="l", group="l")]}, [other], 0.9, {})
    assert {(leak.row.id, leak.held_out.id) for leak in leaks if leak.held_out} == {
        ("r0", "v"),
        ("r1", "r1"),
        ("l", "q"),
    }


def test_the_error_counts_the_kinds_names_the_rows_and_says_how_to_go_on() -> None:
    leaks = HeldOut([TESTED], 0.9).leaks([replace(TESTED, id=f"a{n}") for n in range(5)])
    with pytest.raises(DataError, match=r"5 rows leak.*\(5 exact\): a0 .*a1 .*a2 .*; build it again") as raised:
        refuse_leaks("dataset_1", leaks, "build it again")
    assert "a3" not in str(raised.value)
    refuse_leaks("dataset_1", [], "build it again")


def test_a_test_row_put_into_the_training_file_by_hand_is_not_trained_on(
    train_settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    check_dataset(train_settings.dataset, ledger, train_settings.project, dataset)
    path = Path(dataset.path)
    stolen = json.loads((path / "test.jsonl").read_text(encoding="utf-8").splitlines()[2])
    with (path / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({**stolen, "id": "stolen", "group": "stolen"}) + "\n")
    with pytest.raises(
        DataError, match=re.escape(f"{dataset.id}: 1 rows leak") + r".*stolen .*the same text as row test2"
    ):
        finetune(train_settings, ledger, dataset.id)
    run = ledger.find(TrainingRun)[0]
    assert run.status is TrainingRunStatus.FAILED
    assert "stolen" in str(run.error)


def publish_on(ledger: Ledger, dataset: Dataset, judge: Dataset, year: int) -> None:
    add_with_parents(
        ledger,
        published_version(
            f"version_{year}",
            number=year,
            dataset_id=dataset.id,
            created_at=dataset.created_at.replace(year=year),
            scorecard=Scorecard(dataset_id=judge.id),
        ),
    )


@pytest.fixture
def other(train_settings: Settings, ledger: Ledger, dataset: Dataset) -> Dataset:
    """A Dataset whose only test row is one that the first one learns."""
    folder = train_settings.root / "datasets" / "dataset_other"
    folder.mkdir()
    learned = (Path(dataset.path) / "train.jsonl").read_text(encoding="utf-8").splitlines()
    (folder / "test.jsonl").write_text(learned[0] + "\n", encoding="utf-8")
    for name in ("train", "validation"):
        (folder / f"{name}.jsonl").write_text("", encoding="utf-8")
    made = replace(dataset, id="dataset_other", path=str(folder), content_hash="1" * 64)
    add_with_parents(ledger, made)
    return made


@pytest.mark.parametrize("is_own", [True, False], ids=["learned from", "only judged on"])
def test_what_judged_a_version_before_is_refused_and_what_judged_nobody_or_one_later_is_not(
    train_settings: Settings, ledger: Ledger, dataset: Dataset, other: Dataset, is_own: bool
) -> None:
    check_dataset(train_settings.dataset, ledger, train_settings.project, dataset)
    publish_on(ledger, other if is_own else dataset, other, 2999)
    check_dataset(train_settings.dataset, ledger, train_settings.project, dataset)
    publish_on(ledger, other if is_own else dataset, other, 2000)
    with pytest.raises(DataError, match="1 exact"):
        check_dataset(train_settings.dataset, ledger, train_settings.project, dataset)


def test_a_dataset_does_not_judge_a_run_that_learned_its_test_rows_or_was_merged_from_one(
    train_settings: Settings, ledger: Ledger, dataset: Dataset, other: Dataset
) -> None:
    learned = TrainingRun(
        id="run_1",
        project="support",
        dataset_id=dataset.id,
        base_model="base",
        method="lora",
        settings={},
        settings_hash="h",
        seed=0,
        path="p",
    )
    innocent = replace(learned, id="run_2", dataset_id=other.id)
    merged = replace(innocent, id="run_3", settings={"merged_from": {"run_ids": ["run_2", "run_1"]}})
    add_with_parents(ledger, learned, innocent, merged)
    for run in (learned, merged):
        (leak,) = leaks_into_judge(train_settings.dataset, ledger, run, other)
        assert (leak.kind, leak.row.id) == ("exact", "train0")
        with pytest.raises(DataError, match=rf"{run.id} on dataset_other: 1 rows leak .*train0 .*leave out --dataset"):
            refuse_learned(train_settings.dataset, ledger, run, other.id)
    assert leaks_into_judge(train_settings.dataset, ledger, learned, dataset) == []
    assert leaks_into_judge(train_settings.dataset, ledger, innocent, other) == []


LATER = "i would also like to change my plan to the one with more data, which my neighbour has had since the spring"


OTHER = "where do you send a new card to, as i have moved to another town and forgot to tell anybody of it for months"


def test_an_earlier_learned_turn_of_a_row_leaks_as_its_last_one_does() -> None:
    """With `train.learn: all` only a row's last prompt was compared, and what its earlier turns taught was judged."""
    turns = [said("user", TESTED.text), said("assistant", "in Ulm"), said("user", f"and {LATER}")]
    taught = replace(row("a", ""), prompt=turns)
    masked = replace(taught, prompt=[turns[0], {**turns[1], "weight": 0}, turns[2]])
    held_out = HeldOut([TESTED], 0.9)
    assert [(leak.kind, leak.row.id, leak.row.text) for leak in held_out.leaks([masked, taught], "all")] == [
        ("exact", "a", TESTED.text)
    ]
    assert held_out.leaks([taught], "last") == held_out.leaks([masked], "all") == []
    assert group_numbers([TESTED, taught], 0.9, "all") == [0, 0]
    assert group_numbers([TESTED, masked], 0.9, "all") == group_numbers([TESTED, taught], 0.9) == [0, 1]
    other = replace(taught, id="b", group="b", prompt=[*turns[:2], said("user", OTHER)])
    assert group_numbers([taught, other], 0.9, "all") == [0, 1], "alike where neither judges"


def test_a_run_that_learned_all_turns_is_judged_on_none_of_them(
    train_settings: Settings, ledger: Ledger, dataset: Dataset, tmp_path: Path
) -> None:
    test = json.loads((Path(dataset.path) / "test.jsonl").read_text(encoding="utf-8").splitlines()[0])
    path = Path(dataset.path) / "train.jsonl"
    turns = [*test["prompt"], *test["completion"], said("user", LATER)]
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**test, "id": "long", "group": "long", "prompt": turns}) + "\n")
    check_dataset(train_settings.dataset, ledger, train_settings.project, dataset)
    with pytest.raises(DataError, match=r"1 rows leak .*long .*the same text as"):
        check_dataset(train_settings.dataset, ledger, train_settings.project, dataset, "all")
    other = replace(dataset, id="dataset_2", content_hash="2", path=str(tmp_path / "other"))
    Path(other.path).mkdir()
    (Path(other.path) / "test.jsonl").write_text(json.dumps(test) + "\n", encoding="utf-8")
    ledger.add(other)
    for learn in ("last", "all"):
        run = replace(run_stub(f"run_{learn}"), dataset_id=dataset.id, settings={"train": {"learn": learn}})
        ledger.add(run)
        found = {leak.row.id for leak in leaks_into_judge(train_settings.dataset, ledger, run, other)}
        assert ("long" in found) == (learn == "all")
