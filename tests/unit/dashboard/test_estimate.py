"""What a training will take is told by the newest finished run of the same method, and by no other."""

from datetime import UTC, datetime

import pytest

from dashboard.estimate import estimate, same_run
from driftwheel.records.nouns import Dataset, TrainingRun, TrainingRunStatus
from driftwheel.records.run_metrics import RunMetrics

AT = datetime(2026, 5, 4, tzinfo=UTC)
DATASET = Dataset(
    id="d", project="p", content_hash="h", path="p", origin="files", train_rows=100, validation_rows=1, test_rows=1
)
USUAL = {"build_dataset": 60.0, "finetune": 999.0, "merge": 30.0}


def run(id: str, method: str = "lora", *, seconds: float | None = 200.0, memory: int | None = 1000) -> TrainingRun:
    return TrainingRun(
        id=id,
        project="p",
        created_at=AT,
        status=TrainingRunStatus.SUCCEEDED,
        dataset_id="d",
        base_model="b",
        method=method,
        settings={"train": {"num_train_epochs": 2.0}},
        settings_hash="h",
        seed=0,
        path="p",
        metrics=RunMetrics(train_seconds=seconds, epochs=2.0, peak_memory_bytes=memory),
    )


def test_time_grows_with_rows_and_passes_and_the_other_steps_are_added() -> None:
    found = estimate([run("new"), run("old", seconds=9.0)], {"d": DATASET}, USUAL, method="lora", rows=50, passes=4)
    assert found.training_seconds == pytest.approx(200.0)  # a second a row in each pass
    assert found.seconds == pytest.approx(290.0)
    assert (found.memory_bytes, found.from_run) == (1000, "new")


def test_another_methods_run_tells_nothing() -> None:
    found = estimate([run("a", "full")], {"d": DATASET}, USUAL, method="lora", rows=50, passes=4)
    assert (found.training_seconds, found.memory_bytes, found.from_run, found.seconds) == (None, None, None, None)


def test_what_no_run_measured_is_not_known() -> None:
    found = estimate([run("a", seconds=None)], {"d": DATASET}, {}, method="lora", rows=50, passes=4)
    assert (found.training_seconds, found.seconds, found.memory_bytes) == (None, None, 1000)


@pytest.mark.parametrize(
    ("method", "passes", "is_same"), [("lora", 2.0, True), ("full", 2.0, False), ("lora", 3.0, False)]
)
def test_a_run_that_is_there_is_told(method: str, passes: float, is_same: bool) -> None:
    assert (same_run([run("a")], dataset_id="d", method=method, passes=passes) is not None) is is_same
