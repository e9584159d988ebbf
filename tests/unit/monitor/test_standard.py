"""Where answers are good by degrees, a fall of the grade is proved, and steady traffic is left alone."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest

from driftwheel.records.json_form import as_json
from driftwheel.records.predictions import PREDICTIONS, Prediction
from driftwheel.records.scorecard import Scorecard
from examples.support.world_texts import cottages, right_texts
from monitor.betting import Outcomes, log_capital
from monitor.calibration import level_per_decision
from monitor.observation import grade_of
from monitor.opinions import Said, WindowEvidence
from monitor.quality import Assessment, assess
from monitor.references import baseline_of
from monitor.standard import Baseline, live_criterion
from tests.support.versions import published_version

STEADY, FALLEN = (0.9, 0.6, 0.5, 0.7, 0.55, 0.45, 0.8, 0.5), (0.3, 0.2, 0.25, 0.7, 0.2, 0.35, 0.3, 0.1)
BASELINE = Baseline(sum(STEADY * 50), 8 * 50, STEADY * 50)


def window(grades: Iterator[float], corrected: int, thumbs: Sequence[int | None] = (None,)) -> WindowEvidence:
    """Return 200 answers to ten keys, of which so many were corrected; they lie well mixed."""
    said, thumb = cycle([True] * corrected + [False] * (200 - corrected)), cycle(thumbs)
    rows = [(next(grades) if next(said) else None, next(thumb)) for _ in range(200)]
    mixed = [rows[n * 77 % 200] for n in range(200)]
    return WindowEvidence(
        tuple(
            Said(f"key{n % 10}", False, None if grade is None else grade == 1, thumb, grade)
            for n, (grade, thumb) in enumerate(mixed)
        )
    )


def judged(windows: Sequence[WindowEvidence], *, are_labels_sampled: bool = True) -> Assessment:
    return assess(
        windows,
        BASELINE,
        level=level_per_decision(1, 24),
        min_labels=30,
        max_drop=0.1,
        are_labels_sampled=are_labels_sampled,
    )


def test_a_fall_of_the_grade_is_proved_by_one_correction_in_ten() -> None:
    """By right and wrong all corrected answers were wrong before and after: no alarm."""
    steady, fallen = cycle(STEADY), cycle(FALLEN)
    before = [window(steady, 20) for _ in range(8)]
    known = judged(before)
    assert (known.is_proved, known.risen) == (False, ())
    assert known.accuracy is not None
    assert known.accuracy.value == pytest.approx(BASELINE.accuracy, abs=0.02)
    known = judged([*before, *(window(fallen, 20) for _ in range(2))])
    assert known.is_proved
    assert known.accuracy is not None
    assert known.accuracy.grades is not None
    assert known.accuracy.value == pytest.approx(np.mean(FALLEN), abs=0.02)
    low, high = known.accuracy.interval
    assert low < known.accuracy.value < high


def test_looking_at_more_answers_is_no_fall_where_nobody_chooses_them() -> None:
    """A window of which less was mended was followed by others: that rang as a rise of corrections."""
    steady = cycle(STEADY)
    windows = [*(window(steady, 4) for _ in range(3)), window(steady, 40)]
    assert judged(windows).risen == ()
    chosen = judged(windows, are_labels_sampled=False)
    assert [rate.name for rate in chosen.risen] == ["corrections per answer"]


def test_corrections_that_people_chose_are_an_estimate_until_most_answers_have_one() -> None:
    steady, fallen = cycle(STEADY), cycle(FALLEN)
    before = [window(steady, 20) for _ in range(6)]
    some = judged([*before, *(window(fallen, 20) for _ in range(3))], are_labels_sampled=False)
    assert not some.is_proved
    assert [rate.name for rate in some.risen] == ["grade lost per corrected answer"]
    assert judged([window(fallen, 180) for _ in range(2)], are_labels_sampled=False).is_proved


def test_thumbs_ring_an_estimate_on_texts_too() -> None:
    steady = cycle(STEADY)
    before = [window(steady, 0, [1, 1, 1, 1, -1, None, None]) for _ in range(6)]
    assert judged(before).risen == ()
    known = judged([*before, *(window(steady, 0, [-1, -1, -1, 1, None, None]) for _ in range(2))])
    assert (known.is_proved, known.accuracy) == (False, None)
    assert "thumbs down per thumb" in [rate.name for rate in known.risen]


def test_bets_on_grades_are_those_of_right_and_wrong_where_grades_are_these() -> None:
    assert log_capital(Outcomes.of([1.0, 0.0, 0.0]), 0.7) == pytest.approx(log_capital(Outcomes(1, 3), 0.7))
    exact, by_sum = log_capital(Outcomes.of([0.5] * 4), 0.7), log_capital(Outcomes(2.0, 4), 0.7)
    assert (exact > by_sum).all(), "a sum alone tells less"


def test_live_answers_and_test_items_are_graded_beside_one_right_answer(tmp_path: Path) -> None:
    """The scorecard's grade is the best of three: beside one correction each answer seemed to be worse."""
    items = []
    for cottage in cottages(3, 60):
        answer, *texts = right_texts(cottage, 3)
        items.append(_item(cottage.prompt, answer, texts, "old"))
    lines = [json.dumps(as_json(item)) + "\n" for item in items]
    (tmp_path / PREDICTIONS).write_text("".join(lines), encoding="utf-8")
    card = Scorecard(criterion="chrf", grade=1.0, items=60, predictions_path=str(tmp_path / PREDICTIONS))
    baseline = baseline_of(replace(published_version("version_1"), scorecard=card))
    live = [grade_of("chrf", item.answer, item.expected) or 0.0 for item in items]
    assert baseline.accuracy == pytest.approx(np.mean(live))
    assert baseline.accuracy < 0.9
    assert baseline.floor < baseline.accuracy


def _item(prompt: str, answer: str, texts: Sequence[str], slice_: str) -> Prediction:
    return Prediction(
        id=prompt,
        slice=slice_,
        prompt=prompt,
        expected=texts[0],
        references=tuple(texts[1:]),
        answer=answer,
        label=None,
        predicted=None,
        is_correct=False,
        latency_seconds=0.1,
        mean_logprob=None,
    )


def test_only_what_is_good_by_degrees_is_graded_and_a_judge_is_not_asked_about_live_answers() -> None:
    assert live_criterion(Scorecard()) is None
    assert live_criterion(Scorecard(criterion="rouge_l")) == "rouge_l"
    assert live_criterion(Scorecard(criterion="judge")) == "chrf"
    assert grade_of(None, "a", "a") is grade_of("chrf", "a", None) is None
