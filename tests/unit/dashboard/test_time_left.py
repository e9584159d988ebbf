"""The time that a retrain still takes is what its steps took before, and what its own training says."""

from datetime import UTC, datetime, timedelta

import pytest

from dashboard.time_left import seconds_left, training_left, usual_seconds
from driftwheel.records.bookkeeping import Step
from driftwheel.records.nouns import TrainingRun

START = datetime(2026, 5, 4, 12, tzinfo=UTC)


def step(name: str, begin: float, end: float | None, decision: str = "decision_1") -> Step:
    return Step(
        id=f"{decision}/{name}",
        project="p",
        created_at=START + timedelta(seconds=begin),
        decision_id=decision,
        name=name,
        status="running" if end is None else "done",
        finished_at=None if end is None else START + timedelta(seconds=end),
    )


def run(**settings: object) -> TrainingRun:
    return TrainingRun(
        id="run_1",
        project="p",
        dataset_id="d",
        base_model="b",
        method="lora",
        settings=dict(settings),
        settings_hash="h",
        seed=0,
        path="/nowhere",
    )


EARLIER = [step("dataset", 0, 10, "decision_0"), step("finetune", 10, 110, "decision_0"), step("gate", 110, 130, "d")]


def test_what_comes_takes_as_long_as_it_took_before() -> None:
    usual = usual_seconds(EARLIER)
    assert list(usual) == ["dataset", "finetune", "gate"]
    steps = [step("dataset", 1000, 1012), step("finetune", 1012, None)]
    now = START + timedelta(seconds=1042)
    assert seconds_left(steps, usual, now) == pytest.approx(70 + 20)


def test_a_step_that_takes_longer_than_before_is_not_over_in_less_than_no_time() -> None:
    steps = [step("dataset", 1000, 1012), step("finetune", 1012, None)]
    assert seconds_left(steps, usual_seconds(EARLIER), START + timedelta(seconds=9000)) == 20


def test_the_first_retrain_has_no_estimate() -> None:
    assert seconds_left([step("dataset", 0, None)], {}, START) is None


def test_a_failed_step_of_before_says_nothing_of_its_length() -> None:
    failed = Step(id="d/x", project="p", decision_id="d", name="x", status="failed", finished_at=START)
    assert usual_seconds([failed]) == {}


def test_a_training_is_measured_by_its_own_curve() -> None:
    points = [{"step": 10, "epoch": 0.75, "elapsed_seconds": 30.0}]
    assert training_left(run(num_train_epochs=3), points) == pytest.approx(90)
    assert training_left(run(max_steps=40, num_train_epochs=3), points) == pytest.approx(90)
    assert training_left(run(max_steps=-1, num_train_epochs=3), []) is None
    assert training_left(run(), points) is None
    usual = usual_seconds(EARLIER)
    assert seconds_left([step("finetune", 0, None)], usual, START, of_training=7.0) == pytest.approx(10 + 7 + 20)
