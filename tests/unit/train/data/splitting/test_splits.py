"""Groups are dealt out whole, by label or by time, and what was tested before is tested again."""

import random

import pytest

from train.data.examples import Example
from train.data.splitting.splits import Deal, split_by_label, split_by_time

SHARES = {"test": 0.2, "validation": 0.1}


def rows(count: int) -> list[Example]:
    """Return rows of two labels, one a day, in random order."""
    found = [
        Example(
            f"r{n}", [{"role": "user", "content": f"text {n}"}], [], "xy"[n % 4 == 0], f"r{n}", time=f"2026-01-{n:05d}"
        )
        for n in range(count)
    ]
    random.Random(0).shuffle(found)
    return found


def test_each_label_has_its_share_in_each_split() -> None:
    examples = rows(400)
    splits = split_by_label(Deal(examples, range(400), SHARES), seed=0)
    assert {name: len(found) for name, found in splits.items()} == {"train": 280, "validation": 40, "test": 80}
    assert {name: sum(e.label == "y" for e in found) for name, found in splits.items()} == {
        "train": 70,
        "validation": 10,
        "test": 20,
    }


def test_pinned_groups_are_tested_whatever_the_seed_and_count_for_the_share() -> None:
    examples = rows(400)
    first = split_by_label(Deal(examples, range(400), SHARES), seed=0)
    tested = {e.id for e in first["test"]}
    pinned = {n for n, e in enumerate(examples) if e.id in tested}
    again = split_by_label(Deal(examples, range(400), SHARES, pinned), seed=7)
    assert {e.id for e in again["test"]} == tested


def test_what_was_learned_before_is_held_out_last() -> None:
    examples = rows(400)
    trained = {n for n, e in enumerate(examples) if int(e.id[1:]) < 240}
    held_out = split_by_label(Deal(examples, range(400), SHARES, trained=trained), seed=0)
    assert min(int(e.id[1:]) for e in held_out["test"]) >= 240
    everything = split_by_label(Deal(examples, range(400), SHARES, trained=range(400)), seed=0)
    assert len(everything["test"]) == 80, "where all was learned before there is still a test split"


def test_the_newest_rows_are_tested_and_the_next_validate() -> None:
    found = split_by_time(Deal(rows(100), range(100), SHARES))
    dates = {name: sorted(str(e.time) for e in split) for name, split in found.splits.items()}
    assert (len(dates["train"]), len(dates["validation"]), len(dates["test"])) == (70, 10, 20)
    assert dates["train"][-1] < dates["validation"][0] <= dates["validation"][-1] < dates["test"][0]
    assert found.cuts == {"test": "2026-01-00080", "validation": "2026-01-00070"}


def test_a_group_that_spans_the_cut_goes_whole_to_the_later_split() -> None:
    examples = sorted(rows(100), key=lambda e: int(e.id[1:]))
    groups = list(range(100))
    groups[0] = groups[99]  # the oldest row and the newest are of one user
    found = split_by_time(Deal(examples, groups, SHARES))
    assert {"r0", "r99"} <= {e.id for e in found.splits["test"]}
    assert max(str(e.time) for e in found.splits["train"]) <= found.cuts["validation"]


@pytest.mark.parametrize(
    "split", [lambda d: split_by_label(d, 0), lambda d: split_by_time(d).splits], ids=["label", "time"]
)
def test_no_group_is_parted(split) -> None:  # type: ignore[no-untyped-def]
    examples = rows(300)
    groups = [int(e.id[1:]) % 40 for e in examples]
    where: dict[int, set[str]] = {}
    for name, found in split(Deal(examples, groups, SHARES)).items():
        for e in found:
            where.setdefault(int(e.id[1:]) % 40, set()).add(name)
    assert all(len(names) == 1 for names in where.values())
