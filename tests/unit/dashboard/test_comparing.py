"""Differences are second minus first and paired; a blind pair gives away nothing and means the right version."""

from dataclasses import replace
from typing import Any

import pytest

from dashboard import charts, comparing
from driftwheel.evidence.comparison import Comparison
from driftwheel.evidence.intervals import paired_interval
from driftwheel.records.bookkeeping import Judgement, Preference
from driftwheel.records.predictions import Prediction
from driftwheel.records.scorecard import Scorecard


def item(
    n: int, predicted: str | None, *, slice: str = "old", label: str = "a", slices: tuple[str, ...] = ()
) -> Prediction:
    return Prediction(
        id=f"row-{n}",
        slice=slice,
        prompt=f"question {n}",
        expected="a",
        answer=f"{predicted}",
        label=label,
        predicted=predicted,
        is_correct=predicted == label,
        latency_seconds=0.1,
        mean_logprob=None,
        slices=slices,
    )


def pairs(outcomes: list[tuple[str | None, str | None]], **more: Any) -> list[tuple[Prediction, Prediction]]:
    return [(item(n, first, **more), item(n, second, **more)) for n, (first, second) in enumerate(outcomes)]


OUTCOMES: list[tuple[str | None, str | None]] = [*[("a", "a")] * 6, *[("b", "a")] * 3, ("a", "b")]


def test_a_measure_is_compared_with_its_paired_interval() -> None:
    cards = (
        Scorecard(accuracy=0.7, intervals={"accuracy": (0.4, 0.9)}, brier=0.2, task="labels"),
        Scorecard(accuracy=0.9, intervals={"accuracy": (0.6, 0.98)}, brier=0.1, task="labels", bleu=3.0),
    )
    items, unanswered, accuracy, brier = comparing.measures(Comparison("d", cards, pairs(OUTCOMES)), ("v1", "v2"))
    low, high = paired_interval(3, 1, 10)
    assert accuracy == {
        "measure": "accuracy",
        "v1": "70.0% [40.0, 90.0]",
        "v2": "90.0% [60.0, 98.0]",
        "difference": "+20.0 points",
        "95 % interval": f"{low * 100:+.1f} to {high * 100:+.1f}",
    }
    assert (items["difference"], unanswered["difference"]) == ("+0", "+0")
    assert (brier["difference"], brier["95 % interval"]) == ("-0.1", "")


def test_a_share_without_an_interval_is_told_in_the_unit_of_its_difference() -> None:
    cards = (Scorecard(exact_match=0.7, task="labels"), Scorecard(exact_match=0.9, task="labels"))
    found = comparing.measures(Comparison("d", cards, pairs(OUTCOMES)), ("v1", "v2"))
    row = next(r for r in found if r["measure"] == "exact match")
    assert (row["v1"], row["v2"], row["difference"]) == ("70.0%", "90.0%", "+20.0 points")
    assert row["95 % interval"], "in points as well"


def test_further_right_answers_are_as_good_in_the_interval_as_in_the_scorecard() -> None:
    for measure, given in (("exact_match", " b "), ("object_match", '{"b": 1}')):
        good = replace(item(0, "b"), answer=given, references=(given.strip(),))
        assert comparing.PAIRED[measure](good)
        assert not comparing.PAIRED[measure](replace(good, references=("c",)))
    assert not comparing.PAIRED["object_match"](replace(item(0, "b"), references=("no object",)))


def test_grades_are_compared_by_their_mean_difference() -> None:
    both = [(replace(a, grade=0.5), replace(b, grade=0.7 if n else 0.2)) for n, (a, b) in enumerate(pairs(OUTCOMES))]
    found = comparing.by_slice(both)[0]
    assert found.difference == pytest.approx(0.15)
    assert found.interval is not None
    low, high = found.interval
    assert low < 0.15 < high
    one = Scorecard(criterion="chrf", grade=0.5, ungraded=0, intervals={"grade": (0.4, 0.8)})
    cards = (one, replace(one, grade=0.65))
    row = next(r for r in comparing.measures(Comparison("d", cards, both), ("v1", "v2")) if r["measure"] == "grade")
    assert row["difference"] == "+15.0 points"
    assert row["95 % interval"] == f"{low * 100:+.1f} to {high * 100:+.1f}"
    labels = [tuple(replace(one, grade=float(one.is_correct)) for one in pair) for pair in pairs(OUTCOMES)]
    assert comparing.by_slice(labels) == comparing.by_slice(pairs(OUTCOMES))  # type: ignore[arg-type]


def test_slices_are_those_of_the_items() -> None:
    named = pairs([("b", "a")] * 2, slice="new", slices=("label:a",))
    found = comparing.by_slice([*pairs(OUTCOMES), *named])
    assert [(s.slice, s.items, s.difference) for s in found] == [
        ("all items", 12, pytest.approx(4 / 12)),
        ("old", 10, 0.2),
        ("label:a", 2, 1),
        ("new", 2, 1),
    ]
    chart = charts.interval(found, "second minus first")
    assert chart is not None
    drawn = chart.to_dict()
    points = next(layer for layer in drawn["layer"] if layer["mark"]["type"] == "point")
    assert [v["slice"] for v in points["data"]["values"]] == ["all items", "old", "label:a", "new"]
    assert comparing.by_slice([]) == []


def test_the_confusion_change_counts_moves_only() -> None:
    moved = [*pairs(OUTCOMES), *pairs([("b", "b"), ("made up", None), ("b", "made up")], label="b")]
    labels, change = comparing.confusion_change(moved)
    assert labels == ["a", "b", comparing.OTHER]
    assert change == [[2, -2, 0], [0, -1, 1], [0, 0, 0]]
    cells = charts.confusion_change(labels, change).to_dict()["data"]["values"]
    assert next(c for c in cells if (c["expected"], c["predicted"]) == ("a", "b"))["good"] == 2


def test_the_sides_are_dealt_by_chance_and_mean_the_right_version() -> None:
    many = pairs([("left?", "right?")] * 200)
    found = comparing.blind(many, "Ada")
    assert len(found) == comparing.TO_JUDGE
    assert found == comparing.blind(many, "Ada"), "the sides may not change under her hands"
    assert {b.first_is_left for b in found} == {True, False}
    assert [b.first_is_left for b in found] != [b.first_is_left for b in comparing.blind(many, "Ben")]
    for entry in found:
        assert (entry.left, entry.right) == (("left?", "right?") if entry.first_is_left else ("right?", "left?"))
        better_side = "left" if entry.left == "left?" else "right"
        assert entry.preference(better_side) is Preference.FIRST
        assert entry.preference("right" if better_side == "left" else "left") is Preference.SECOND
        assert (entry.preference("both"), entry.preference("neither")) == (Preference.BOTH, Preference.NEITHER)


def said(judge: str, item_id: str, preference: Preference) -> Judgement:
    return Judgement(
        id=f"{judge}-{item_id}",
        project="p",
        first_version_id="1",
        second_version_id="2",
        dataset_id="d",
        item_id=item_id,
        judge=judge,
        preference=preference,
        first_was_left=None if "model:" in judge else False,
    )


def test_the_tally_counts_each_judge_and_a_models_agreement() -> None:
    people = [
        said("Ada", "a", Preference.SECOND),
        said("Ada", "b", Preference.SECOND),
        said("Ada", "c", Preference.BOTH),
    ]
    model = [said("model:big", "a", Preference.SECOND), said("model:big", "b", Preference.FIRST)]
    ada, big = comparing.tally([*people, *model], ("v1", "v2"))
    assert (ada["judge"], ada["v2 better"], ada["both good"], ada["agrees with people"]) == ("Ada", 2, 1, "")
    assert ada["v2 wins, of decided"] == "100.0% [34.2, 100.0]"
    assert big["agrees with people"] == "50.0% [9.5, 90.5]"
    (alone,) = comparing.tally(model, ("v1", "v2"))
    assert alone["agrees with people"] == "nobody judged these items"
