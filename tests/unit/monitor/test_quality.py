"""Quality is lost when it is both worse than allowed and beyond chance."""

from dataclasses import replace

import pytest

from driftwheel.records.scorecard import Scorecard, SliceScore
from monitor.opinions import Said, WindowEvidence
from monitor.quality import judge_window
from monitor.references import baseline_of
from monitor.standard import Baseline
from tests.support.versions import published_version

BASELINE = Baseline(correct=540, items=600)


def window_of(correct: int, wrong: int, unlabelled: int = 0) -> WindowEvidence:
    """Return requests of as many keys."""
    outcomes = [*[True] * correct, *[False] * wrong, *[None] * unlabelled]
    return WindowEvidence(tuple(Said(f"key{n}", False, outcome) for n, outcome in enumerate(outcomes)))


@pytest.mark.parametrize(
    ("correct", "wrong", "is_lost"),
    [(90, 10, False), (83, 17, False), (60, 40, True), (7, 3, False), (0, 100, True)],
    ids=["as judged", "a little worse", "much worse", "worse, but too few to tell", "all wrong"],
)
def test_quality_is_lost_beyond_chance_only(correct: int, wrong: int, is_lost: bool) -> None:
    quality = judge_window(window_of(correct, wrong, 50), BASELINE, are_labels_sampled=True)
    assert quality.is_lost(1 / 2160, 0.1) is is_lost


def test_no_labels_mean_no_verdict() -> None:
    quality = judge_window(window_of(0, 0, 100), BASELINE, are_labels_sampled=True)
    assert (quality.labelled_rows, quality.drop, quality.p_value) == (0, 0.0, 1.0)


def test_the_baseline_is_the_new_slice_where_there_is_one() -> None:
    card = Scorecard(accuracy=0.9, items=600, slices={"old": SliceScore(accuracy=0.95, items=400)})
    version = replace(published_version("version_1"), scorecard=card)
    assert baseline_of(version) == Baseline(540, 600)
    card.slices["new"] = SliceScore(accuracy=0.8, items=200)
    assert baseline_of(version) == Baseline(160, 200)


@pytest.mark.parametrize(
    ("corrected", "others_wrong", "is_lost"),
    [
        ({"evil": 70}, 0, False),
        ({"evil": 70}, 9, False),
        ({"web": 190}, 0, True),
        ({"a": 20, "b": 20, "c": 20}, 0, True),
    ],
    ids=["one key of ten", "beside a few others'", "the key that asks nearly all", "three keys"],
)
def test_one_key_of_many_does_not_send_a_version_back(
    corrected: dict[str, int], others_wrong: int, is_lost: bool
) -> None:
    """One untrusted key that corrected its own requests rolled a good version back in its trial windows."""
    said = [Said(author, False, False) for author, count in corrected.items() for _ in range(count)]
    silent = range(200 - len(said))
    others = [Said(f"key{n % 9}", False, False if n < others_wrong else None) for n in silent]
    window = WindowEvidence((*said, *others))
    assert judge_window(window, BASELINE, are_labels_sampled=False).is_lost(1 / 2160, 0.1) is is_lost
