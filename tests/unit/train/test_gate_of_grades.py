"""The gate's table of cases where answers are good by degrees, and what tests for means or signs would let through."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from driftwheel.records.gate_verdict import GateVerdict
from driftwheel.settings.artifact import GateSettings
from train.gate import decide
from train.verdict.paired_tables import Fixed, Item

SETTINGS = GateSettings()


def graded(part: str, grades: Sequence[float | None], slices: tuple[str, ...] = ()) -> list[Item]:
    return [Item(f"{part}-{n}", part, False, slices, grade) for n, grade in enumerate(grades)]


def two(gain: float, items: int = 1000, noise: float = 0.15, seed: int = 0) -> tuple[list[float | None], ...]:
    """Grades of a candidate and of the live version, whose means differ by about the gain."""
    chance = np.random.default_rng(seed)
    live = np.clip(chance.normal(0.6, 0.15, items), 0, 1)
    candidate = np.clip(live + chance.normal(gain, noise, items), 0, 1)
    return candidate.tolist(), live.tolist()


def judged(gain: float, items: int = 1000, settings: GateSettings = SETTINGS, seed: int = 0) -> GateVerdict:
    mine, theirs = two(gain, items, seed=seed)
    return decide(settings, graded("old", mine), graded("old", theirs), criterion="chrf", live_version_id="version_1")


@pytest.mark.parametrize(
    ("gain", "items", "verdict", "says"),
    [
        pytest.param(0.05, 1000, "PROMOTE", "it is better than the live version", id="plainly better"),
        pytest.param(-0.05, 1000, "REJECT", "it is worse than the live version", id="plainly worse"),
        pytest.param(0.015, 500, "INCONCLUSIVE", "more items would settle it", id="a little better"),
        pytest.param(0.3, 50, "INCONCLUSIVE", "50 items are too few", id="too few, but better"),
        pytest.param(0.0, 1000, "INCONCLUSIVE", "not shown to be better", id="no better"),
    ],
)
def test_the_verdict_on_grades_and_its_reason(gain: float, items: int, verdict: str, says: str) -> None:
    found = judged(gain, items)
    assert (found.verdict, found.criterion) == (verdict, "chrf")
    assert says in found.reason
    assert "of 100 (chrf)" in found.reason


def test_an_open_verdict_says_how_many_items_settle_it_and_what_it_could_have_seen() -> None:
    """A retrain of a text task was INCONCLUSIVE by exact equality, with no number of items."""
    found = judged(0.02, 500)
    assert found.verdict == "INCONCLUSIVE"
    assert found.items_needed is not None
    assert found.detectable_gain is not None
    assert 0.03 < found.detectable_gain < 0.06
    settled = [judged(0.02, 500 + 2 * found.items_needed, seed=seed).verdict for seed in range(1, 6)]
    assert settled.count("PROMOTE") >= 4


def test_a_first_version_of_a_text_task_is_judged_by_its_grades() -> None:
    """By exact equality it was REJECTED with `does not beat the base model's 0.0 %`."""
    candidate = graded("old", two(0.0)[0])
    promoted = decide(SETTINGS, candidate, None, baseline=0.41, criterion="chrf")
    assert (promoted.verdict, promoted.criterion) == ("PROMOTE", "chrf")
    assert "it beats the base model's 41.0 of 100 (chrf)" in promoted.reason
    assert decide(SETTINGS, candidate, None, baseline=0.7, criterion="chrf").verdict == "REJECT"
    assert decide(SETTINGS, candidate, None, baseline=0.0).verdict == "REJECT", "no answer equals its reference"


def test_a_slice_that_loses_blocks_and_a_small_one_that_surely_loses_rejects() -> None:
    new, old, few = two(0.2, 300, seed=1), two(0.0, 1500, noise=0.08, seed=2), two(-0.25, 30, seed=3)

    def verdict_on(*loses: tuple[list[float | None], ...]) -> GateVerdict:
        made = [graded("new", new[0]), graded("old", old[0])], [graded("new", new[1]), graded("old", old[1])]
        for part, pair in zip(("lost", "few"), loses, strict=False):
            for side, grades in zip(made, pair, strict=True):
                own = graded("old", grades, (part,))
                side.append([replace(item, id=f"{part}-{item.id}") for item in own])
        mine, theirs = ([item for items in side for item in items] for side in made)
        return decide(SETTINGS, mine, theirs, criterion="chrf")

    assert verdict_on().verdict == "PROMOTE"
    lost = verdict_on(two(-0.05, 600, noise=0.08, seed=4))
    assert lost.verdict == "REJECT"
    assert "on 600 old lost items it loses more than the allowed loss" in lost.reason
    small = verdict_on(two(0.0, 600, noise=0.08, seed=5), few)
    assert small.verdict == "REJECT"
    assert "on 30 old few items it is surely worse" in small.reason


def test_a_little_gain_on_most_answers_does_not_hide_the_loss_of_a_few() -> None:
    """Half a point better on each of 500 answers, all lost on one in 200 of those that were not drawn: no gain at all.

    Signs as coin tosses give p = 2 ** -500, and a test of the mean divides by a variance of zero.
    """
    live = [0.6] * 500
    found = decide(SETTINGS, graded("old", [0.605] * 500), graded("old", live), criterion="chrf")
    assert found.verdict == "INCONCLUSIVE"
    assert found.p_value is not None
    assert found.p_value > SETTINGS.false_promotion / SETTINGS.candidates


def test_items_without_a_grade_count_neither_way_and_too_many_leave_it_open() -> None:
    mine, theirs = two(0.05)
    many = [None] * 21
    lacking = SETTINGS.model_copy(update={"max_ungraded": 0.02})
    a_few = decide(lacking, graded("old", [*many[1:], *mine[20:]]), graded("old", theirs), criterion="judge")
    assert (a_few.verdict, a_few.items, a_few.ungraded) == ("PROMOTE", 980, 20)
    for sides in (([*many, *mine[21:]], theirs), (mine, [*many, *theirs[21:]]), ([None] * 1000, theirs)):
        found = decide(lacking, graded("old", sides[0]), graded("old", sides[1]), criterion="judge")
        assert found.verdict == "INCONCLUSIVE"
        assert "items have no grade" in found.reason
        assert found.p_value is None
    first = decide(lacking, graded("old", [None] * 1000), None, baseline=0.5, criterion="judge")
    assert first.verdict == "INCONCLUSIVE", "a grader that is down is no zero"


def test_what_a_version_won_by_grades_stays_fixed() -> None:
    mine, theirs = two(0.1)
    won = decide(SETTINGS, graded("old", mine), graded("old", theirs), criterion="chrf").fixed
    assert [(entry.slice, entry.items) for entry in won] == [("all", 1000)]
    answers = {f"old-{n}": grade for n, grade in enumerate(mine)}
    bound = Fixed("all", 1, won[0].gain, answers)
    back = decide(SETTINGS, graded("old", theirs), graded("old", theirs), criterion="chrf", fixed=[bound])
    assert back.verdict == "REJECT"
    assert "all of v1 items it loses more than" in back.reason


def test_labels_are_judged_as_they_were() -> None:
    items = [Item(f"old-{n}", "old", n < 250, (), float(n < 250)) for n in range(300)]
    live = [Item(f"old-{n}", "old", n < 200, (), float(n < 200)) for n in range(300)]
    found = decide(SETTINGS, items, live)
    assert (found.verdict, found.criterion, found.slices[0].gained) == ("PROMOTE", None, 50)
    assert found.p_value == pytest.approx(0.5**50)
