"""Quality is lost when it is both worse than allowed and beyond chance."""

import pytest

from driftwheel.scorecard import Scorecard, SliceScore
from monitor.observation import Observation
from monitor.quality import Baseline, baseline_of, judge_engine, judge_quality

BASELINE = Baseline(correct=540, items=600)


def rows(correct: int, wrong: int, unlabelled: int = 0) -> list[Observation]:
    outcomes = [*["a"] * correct, *["b"] * wrong, *[None] * unlabelled]
    return [
        Observation(id=str(n), prompt="", answer="a", label="a", right_label=right) for n, right in enumerate(outcomes)
    ]


@pytest.mark.parametrize(
    ("correct", "wrong", "is_lost"),
    [(90, 10, False), (83, 17, False), (60, 40, True), (7, 3, False), (0, 100, True)],
    ids=["as judged", "a little worse", "much worse", "worse, but too few to tell", "all wrong"],
)
def test_quality_is_lost_beyond_chance_only(correct: int, wrong: int, is_lost: bool) -> None:
    assert judge_quality(rows(correct, wrong, 50), BASELINE).is_lost(1 / 2160, 0.1) is is_lost


def test_no_labels_mean_no_verdict() -> None:
    quality = judge_quality(rows(0, 0, 100), BASELINE)
    assert (quality.labelled_rows, quality.drop, quality.p_value) == (0, 0.0, 1.0)


def test_the_baseline_is_the_new_slice_where_there_is_one() -> None:
    card = Scorecard(accuracy=0.9, items=600, slices={"old": SliceScore(accuracy=0.95, items=400)})
    assert baseline_of(card) == Baseline(540, 600)
    card.slices["new"] = SliceScore(accuracy=0.8, items=200)
    assert baseline_of(card) == Baseline(160, 200)


def test_failures_and_slowness_are_the_engines() -> None:
    fast = [Observation(id="1", prompt="", answer="", label=None, latency_seconds=0.1)] * 20
    slow = [Observation(id="1", prompt="", answer="", label=None, latency_seconds=0.5)] * 20
    failed = [Observation(id="1", prompt="", answer="", label=None, is_failed=True)] * 5
    assert judge_engine(fast, fast).score < 1
    assert judge_engine(slow, fast).score > 1
    assert judge_engine([*fast, *failed], fast).score > 1
