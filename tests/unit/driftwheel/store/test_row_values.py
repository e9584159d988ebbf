"""What one of the two databases would refuse or change is refused by both, by the name of its column."""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from driftwheel.errors import RecordError
from driftwheel.records.bookkeeping import Step
from driftwheel.records.check_details import DecisionBasis
from driftwheel.records.nouns import DecisionStatus, DecisionVerdict, RetrainDecision, Traffic, TrainingRun
from driftwheel.records.run_metrics import RunMetrics
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.appender import Appender
from tests.support.versions import add_with_parents, answered_request, run_stub

pytestmark = pytest.mark.every_database
ROW = answered_request("req_1", version_id="v", route="chat", prompt="my secret", answer="\u65e5\u672c \U0001f697")
DECISION = RetrainDecision(
    id="decision_1",
    project="support",
    verdict=DecisionVerdict.RETRAIN,
    status=DecisionStatus.OPEN,
    trigger="policy",
    remedy="retrain",
    reasons=["quality fell"],
)


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("mean_logprob", math.nan, "is nan, which is no number"),
        ("latency_seconds", math.inf, "is inf, which is no number"),
        ("prompt_tokens", 2**63, "is an integer beyond 64 bits"),
        ("prompt_tokens", -(2**63) - 1, "is an integer beyond 64 bits"),
        ("prompt_tokens", "7", "must be an integer, not str"),
        ("prompt_tokens", True, "must be an integer, not bool"),
        ("prompt_tokens", 7.0, "must be an integer, not float"),
        ("latency_seconds", "0.1", "must be a number, not str"),
        ("is_stream", 1, "must be true or false, not int"),
        ("answer", "half \ud83d", "holds half of a surrogate pair"),
        ("answer", "a\0b", "holds a NUL character"),
        ("answer", b"bytes", "must be text, not bytes"),
        ("created_at", datetime(2026, 1, 1), "is a time without an offset"),
        ("created_at", "2026-01-01", "must be a time, not str"),
    ],
    ids=lambda value: ascii(value)[:24],
)
def test_a_value_that_cannot_be_kept_names_its_row_and_column(
    ledger: Ledger, field: str, value: Any, fault: str
) -> None:
    wrong, appender = replace(ROW, id="req_2", **{field: value}), Appender(ledger, Traffic)
    adds: list[Callable[[], None]] = [lambda: ledger.add(ROW, wrong), lambda: appender.add([ROW, wrong])]
    for add in adds:
        with pytest.raises(RecordError, match=rf"^req_2: req\.{field} {fault}.*; nothing was written$") as refused:
            add()
        assert "secret" not in str(refused.value)
    appender.close()
    assert ledger.count(Traffic) == 0


def test_the_largest_values_there_are_come_back_as_they_went_in(ledger: Ledger) -> None:
    row = replace(
        ROW, prompt_tokens=2**63 - 1, completion_tokens=-(2**63), latency_seconds=1.7e308, mean_logprob=5e-324
    )
    ledger.add(row)
    assert ledger.get(Traffic, "req_1") == row


def test_what_cannot_be_kept_inside_of_json_names_its_place(ledger: Ledger) -> None:
    known = DecisionBasis(verdicts={"input": 7})  # type: ignore[dict-item]  # that is the point
    said = r"^decision_1: decision\.known cannot be written as JSON: Expected `str`, got `int` - at `\$\.verdicts"
    with pytest.raises(RecordError, match=said):
        ledger.add(replace(DECISION, known=known))
    ledger.add(DECISION)
    with pytest.raises(RecordError, match=said):
        ledger.change(DECISION, known=known)
    assert ledger.get(RetrainDecision, "decision_1") == DECISION
    step = Step(id="s", project="p", decision_id="decision_1", name="n", status="done", output={"a": [{"b": math.nan}]})
    with pytest.raises(RecordError, match=r"^s: step\.output has nan at a\.0\.b, which is no number"):
        ledger.add(step)


def test_metrics_that_are_no_number_come_back_from_both(ledger: Ledger) -> None:
    metrics = RunMetrics(train_loss=math.inf, steps=3, eval_loss=-math.inf)
    add_with_parents(ledger, replace(run_stub("run_1"), metrics=metrics))
    assert ledger.get(TrainingRun, "run_1").metrics == metrics


def test_an_error_is_written_down_whatever_it_quotes(ledger: Ledger) -> None:
    ledger.add(DECISION)
    failed = ledger.change(DECISION, status=DecisionStatus.FAILED, error="no file 'a\udcff\0b'")
    assert ledger.get(RetrainDecision, "decision_1").error == failed.error == "no file 'a\ufffd\ufffdb'"


@pytest.mark.parametrize("id", ["a\0b", "half \ud83d"], ids=ascii)
def test_nothing_is_found_under_what_nothing_can_be_called(ledger: Ledger, id: str) -> None:
    ledger.add(ROW)
    assert ledger.find(Traffic, id=id) == []
    assert ledger.find(Traffic, id=[id, "req_1"]) == [ROW]
    assert ledger.count(Traffic, prompt_tokens=2**63) == 0
