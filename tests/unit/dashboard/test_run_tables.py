"""Fine-tunings beside one another: a column that says nothing is left out, and so is a setting that all have."""

from dataclasses import replace
from datetime import timedelta

from dashboard import run_tables
from driftwheel.identity import utc_now
from driftwheel.records.nouns import TrainingRun, TrainingRunStatus
from driftwheel.records.run_metrics import RunMetrics

NOW = utc_now()
RUN = TrainingRun(
    id="run_1",
    project="support",
    created_at=NOW,
    status=TrainingRunStatus.SUCCEEDED,
    dataset_id="dataset_1",
    base_model="base",
    method="lora",
    settings={"learning_rate": 1e-4, "seed": 0, "fold": {"number": 1, "of": 3}},
    settings_hash="h",
    seed=0,
    path="runs/1",
    metrics=RunMetrics(train_loss=0.3),
    finished_at=NOW + timedelta(seconds=75),
)


def test_a_column_that_says_nothing_is_left_out() -> None:
    (row,) = run_tables.run_rows([RUN])
    assert (row["loss"], row["took"]) == (0.3, "1 min 15 s")
    assert not {"validation loss", "error"} & set(row)
    failed = replace(RUN, error="out of memory", finished_at=None)
    assert [row["error"] for row in run_tables.run_rows([RUN, failed])] == ["", "out of memory"]


def test_only_the_settings_that_differ_are_told() -> None:
    other = replace(RUN, settings={"learning_rate": 1e-3, "seed": 0, "fold": {"number": 2, "of": 3}, "lora_r": 8})
    assert run_tables.differing_settings({"a": RUN, "b": other}) == [
        {"setting": "learning_rate", "a": "0.0001", "b": "0.001"},
        {"setting": "fold.number", "a": "1", "b": "2"},
        {"setting": "lora_r", "a": "", "b": "8"},
    ]


def test_losses_of_several_runs_have_a_line_for_each_kind_that_was_measured() -> None:
    points = {"a": [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0, "eval_loss": 1.5}], "b": []}
    drawn = run_tables.losses(points).to_dict()
    assert [(row["run"], row["of"], row["loss"]) for row in drawn["data"]["values"]] == [
        ("a", "training", 2.0),
        ("a", "training", 1.0),
        ("a", "validation", 1.5),
    ]
