"""A user's own groups are slices by which the gate judges, from the file's column to the verdict."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from driftwheel.errors import DataError
from driftwheel.settings.artifact import GateSettings
from driftwheel.settings.data import DatasetSettings
from train.data.examples import Example, read_examples
from train.data.splitting.clean_rows import clean
from train.data.splitting.source_rows import read_all
from train.data.splitting.tally import Tally
from train.gate import decide
from train.verdict.paired_tables import Item
from train.verdict.slices import name_slices

REGIONS = ("north", "south", "west", "east")


def written(folder: Path) -> Path:
    rows = [
        {"prompt": f"Question {n}?", "completion": f"Answer {n}.", "region": REGIONS[n % 4], "age_group": n % 2 or None}
        for n in range(400)
    ]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def built(folder: Path, *columns: str) -> list[Example]:
    """Return the rows of a split's file as a build writes and an evaluation reads them."""
    path = written(folder)
    settings, tally = DatasetSettings(sources=[str(path)], slice_columns=list(columns)), Tally()
    made = clean(settings, read_all(settings, [(path, 1.0)], tally), tally)
    split = folder / "test.jsonl"
    split.write_text("".join(json.dumps(e.as_line()) + "\n" for e in made), encoding="utf-8")
    return read_examples(split)


def test_each_value_of_a_column_is_a_slice_and_rows_without_one_are_in_none(tmp_path: Path) -> None:
    slices = name_slices(built(tmp_path, "region", "age_group"))
    names = [name for own in slices.values() for name in own]
    assert {names.count(f"region:{region}") for region in REGIONS} == {100}
    assert names.count("age_group:1") == 200
    assert not any(name.startswith("age_group:") and name != "age_group:1" for name in names)


def test_without_the_setting_a_row_is_as_it_was(tmp_path: Path) -> None:
    assert not any("groups" in e.as_line() for e in built(tmp_path))


@pytest.mark.parametrize("criterion", ["right", "chrf"])
def test_a_loss_of_one_group_rejects_what_is_better_for_all_others(tmp_path: Path, criterion: str) -> None:
    """Without a slice of its own the group's loss of half was hidden by the others' gain."""
    slices, items = name_slices(built(tmp_path, "region")), list[tuple[Item, Item]]()
    for number, (id, names) in enumerate(slices.items()):
        was, now = (0.8, 0.3) if "region:east" in names else (0.5, 0.9 if number % 8 else 0.4)
        grades = (was, now) if criterion == "chrf" else (None, None)
        before = Item(id, "old", was > 0.6, names, grades[0])
        items.append((before, replace(before, is_correct=now > 0.6, grade=grades[1])))
    mine, live = [after for _, after in items], [before for before, _ in items]
    verdict = decide(GateSettings(), mine, live, criterion=criterion)  # type: ignore[arg-type]
    assert verdict.verdict == "REJECT"
    assert "region:east" in verdict.reason
    plain = [[replace(item, slices=()) for item in side] for side in (mine, live)]
    assert decide(GateSettings(), *plain, criterion=criterion).verdict == "PROMOTE"  # type: ignore[arg-type]


def test_a_column_that_no_row_has_and_one_with_the_name_of_other_slices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no row has the column .land. that dataset\.slice_columns names"):
        built(tmp_path, "land")
    with pytest.raises(ValidationError, match="'label', of which there are slices already"):
        DatasetSettings(sources=["a.jsonl"], slice_columns=["label"])
