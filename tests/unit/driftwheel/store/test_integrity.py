"""A refused row is told apart: an id that is taken is a conflict, a missing value names its column."""

from dataclasses import replace
from typing import Any

import pytest

from driftwheel.errors import ConflictError, RecordError
from driftwheel.records.bookkeeping import Step, Window
from driftwheel.records.nouns import Alias, DecisionStatus, DecisionVerdict, RetrainDecision, Traffic
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.appender import Appender
from tests.support.versions import add_with_parents, answered_request, dataset_stub, published_version, run_stub

pytestmark = pytest.mark.every_database
DECISION = RetrainDecision(
    id="decision_1",
    project="support",
    verdict=DecisionVerdict.RETRAIN,
    status=DecisionStatus.OPEN,
    trigger="policy",
    remedy="retrain",
    reasons=["quality fell"],
)
ROW = answered_request("req_1", version_id="version_gone", route="chat", prompt="my secret", answer="a")


def lacking(record: Any, field: str) -> Any:
    return replace(record, **{field: None})


def test_an_id_that_is_taken_is_a_conflict(ledger: Ledger) -> None:
    ledger.add(DECISION)
    with pytest.raises(ConflictError, match=r"^decision_1 is already in the ledger's table decision; nothing"):
        ledger.add(DECISION)


def test_a_missing_value_names_table_column_and_id(ledger: Ledger) -> None:
    with pytest.raises(RecordError, match=r"^decision_2 has no value for decision\.trigger; nothing was written$"):
        ledger.add(DECISION, lacking(replace(DECISION, id="decision_2"), "trigger"))
    assert ledger.count(RetrainDecision) == 0


def test_a_change_that_takes_a_needed_value_away_is_named(ledger: Ledger) -> None:
    ledger.add(DECISION)
    with pytest.raises(RecordError, match=r"^decision_1 has no value for decision\.trigger"):
        ledger.change(DECISION, trigger=None)


def test_a_column_that_no_record_fills_is_named(ledger: Ledger) -> None:
    """As where a field was renamed and only a new column was added: that is not "already in the ledger"."""
    with ledger.write() as connection:
        connection.exec_driver_sql("ALTER TABLE decision RENAME COLUMN trigger TO cause")
        connection.exec_driver_sql("ALTER TABLE decision ADD COLUMN trigger TEXT")
    with pytest.raises(RecordError, match=r"^decision_1 has no value for decision\.cause; nothing was written$"):
        ledger.add(DECISION)


def test_a_reference_to_nothing_names_field_and_value(ledger: Ledger) -> None:
    step = Step(id="decision_9/train", project="support", decision_id="decision_9", name="train", status="done")
    said = r"^decision_9/train names a record that is not in the ledger: step\.decision_id 'decision_9'; nothing"
    with pytest.raises(RecordError, match=said):
        ledger.add(step)
    ledger.add(step, replace(DECISION, id="decision_9"))  # what others name is written first
    assert ledger.count(Step) == 1


def test_of_several_rows_the_right_one_is_named(ledger: Ledger) -> None:
    ledger.add(replace(DECISION, id="decision_1"))
    step = Step(id="s", project="support", decision_id="decision_1", name="train", status="done")
    steps = [replace(step, id=f"decision_{n}/train", decision_id=f"decision_{n}") for n in (1, 2, 3)]
    said = r"^decision_3/train names a record that is not in the ledger: step\.decision_id 'decision_3'; nothing"
    with pytest.raises(RecordError, match=said):
        ledger.add(replace(DECISION, id="decision_2"), *steps)
    assert ledger.count(Step) == 0
    with pytest.raises(ConflictError, match=r"^decision_1 is already in the ledger's table decision; nothing"):
        ledger.add(*(replace(DECISION, id=f"decision_{n}") for n in (4, 1, 5)))
    with pytest.raises(ConflictError, match=r"^decision_6 is already in the ledger's table decision; nothing"):
        ledger.add(*(replace(DECISION, id=f"decision_{n}") for n in (7, 6, 6)))


def test_a_number_that_is_taken_is_not_told_as_an_id(ledger: Ledger) -> None:
    window = Window(id="check_1", project="p", version_id="version_1", number=1, rows=1)
    add_with_parents(ledger, window)
    said = r"^check_2: another record of the table drift_window has its version_id 'version_1' and number 1; nothing"
    with pytest.raises(ConflictError, match=said):
        ledger.add(replace(window, id="check_3", number=2), replace(window, id="check_2"))
    assert ledger.count(Window) == 1


@pytest.mark.parametrize(
    ("record", "column"),
    [
        (run_stub("run_9"), "run.dataset_id"),
        (published_version("version_9"), "version.run_id"),
        (replace(DECISION, version_id="version_gone"), "decision.version_id"),
        (Alias(id="p/a", project="p", name="a", version_id="version_gone", fence=1), "alias.version_id"),
        (Window(id="check_1", project="p", version_id="version_gone", number=1, rows=1), "drift_window.version_id"),
    ],
    ids=["run", "version", "decision", "alias", "window"],
)
def test_what_names_a_record_that_is_not_there_is_refused(ledger: Ledger, record: Any, column: str) -> None:
    with pytest.raises(RecordError, match=rf"names a record that is not in the ledger: .*{column}"):
        ledger.add(record)
    add_with_parents(ledger, record)
    assert ledger.get(type(record), record.id) == record


def test_records_of_one_transaction_are_written_after_those_that_they_name(ledger: Ledger) -> None:
    alias = Alias(id="p/a", project="p", name="a", version_id="version_9", fence=1)
    ledger.add(alias, published_version("version_9"), run_stub("run"), dataset_stub("dataset"))
    assert ledger.count(Alias) == 1


def test_traffic_is_never_refused_for_its_version(ledger: Ledger) -> None:
    ledger.add(ROW)
    assert ledger.count(Traffic, version_id="version_gone") == 1


def test_rows_of_traffic_are_told_apart_too_and_their_text_is_not_told(ledger: Ledger) -> None:
    appender = Appender(ledger, Traffic)
    appender.add([ROW])
    with pytest.raises(ConflictError, match="req_1 is already in the ledger"):
        appender.add([ROW])
    with pytest.raises(RecordError, match=r"^req_3 has no value for req\.alias; nothing was written$") as refused:
        appender.add([replace(ROW, id="req_2"), lacking(replace(ROW, id="req_3"), "alias")])
    assert "secret" not in str(refused.value)
    assert ledger.count(Traffic) == 1
    appender.close()
