"""Reports and metrics that older versions wrote are read; what they did not know has its default."""

import json
from typing import Any

import pytest
import sqlalchemy as sa

from driftwheel.records.dataset_report import BrokenRow, DatasetReport, Lengths, ParaphraseCount
from driftwheel.records.nouns import Dataset, TrainingRun
from driftwheel.records.run_metrics import RunMetrics
from driftwheel.store.ledger import Ledger
from tests.support.versions import add_with_parents

DATASET = Dataset(
    id="dataset_1",
    project="support",
    content_hash="0" * 64,
    path="datasets/dataset_1",
    origin="files",
    train_rows=2,
    validation_rows=1,
    test_rows=1,
)
RUN = TrainingRun(
    id="run_1",
    project="support",
    dataset_id="dataset_1",
    base_model="base",
    method="lora",
    settings={},
    settings_hash="abc",
    seed=0,
    path="runs/run_1",
)
OLD_REPORT = {
    "rows_in": 5,
    "broken": 1,
    "broken_rows": [{"place": "rows.jsonl:3", "reason": "is not JSON"}],
    "dropped": {"duplicate": 1},
    "paraphrases": {},
    "tokens": {"p50": 20, "p95": 31, "max": 40},
    "rows_cut_by_max_length": 0,
    "a_key_of_another_version": [1, 2],
}


def write(ledger: Ledger, table: str, column: str, value: Any) -> None:
    statement = sa.text(f"UPDATE {table} SET {column} = :value")
    with ledger.engine.begin() as connection:
        connection.execute(statement, {"value": json.dumps(value)})


@pytest.mark.every_database
@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({}, DatasetReport()),
        (
            OLD_REPORT,
            DatasetReport(
                rows_in=5,
                broken=1,
                broken_rows=[BrokenRow("rows.jsonl:3", "is not JSON")],
                dropped={"duplicate": 1},
                tokens=Lengths(p50=20, p95=31, max=40),
                rows_cut_by_max_length=0,
            ),
        ),
        (
            {"paraphrases": {"model": "writer", "asked": 3, "failed": "no answer"}},
            DatasetReport(paraphrases=ParaphraseCount(model="writer", asked=3, failed="no answer")),
        ),
    ],
    ids=["none", "keys that came later or went", "paraphrases that failed"],
)
def test_an_old_report_is_read(ledger: Ledger, written: dict[str, Any], expected: DatasetReport) -> None:
    ledger.add(DATASET)
    write(ledger, "dataset", "report", written)
    assert ledger.get(Dataset, "dataset_1").report == expected


@pytest.mark.every_database
@pytest.mark.parametrize(
    ("written", "known"),
    [
        ({}, {}),
        (
            {"train_loss": 1, "eval_loss": 0.5, "steps": 6, "stopped_early": False, "resumed_from_step": None},
            {"train_loss": 1.0, "eval_loss": 0.5, "steps": 6, "stopped_early": False},
        ),
    ],
    ids=["of a run that is not over", "without the newer ones"],
)
def test_old_metrics_are_read(ledger: Ledger, written: dict[str, Any], known: dict[str, float]) -> None:
    add_with_parents(ledger, RUN)
    write(ledger, "run", "metrics", written)
    assert ledger.get(TrainingRun, "run_1").metrics.known() == known


def test_a_report_comes_back_as_it_was_written(ledger: Ledger) -> None:
    report = DatasetReport(rows_in=5, tokens=Lengths(p50=1, p95=2, max=3), slices={"train": {"old": 2}})
    ledger.add(Dataset(**{**vars(DATASET), "report": report}))
    assert ledger.get(Dataset, "dataset_1").report == report
    assert report.lengths() == {"tokens": Lengths(p50=1, p95=2, max=3)}


def test_metrics_that_are_no_number_come_back(ledger: Ledger) -> None:
    add_with_parents(ledger, TrainingRun(**{**vars(RUN), "metrics": RunMetrics(train_loss=float("inf"), steps=3)}))
    assert ledger.get(TrainingRun, "run_1").metrics.train_loss == float("inf")
