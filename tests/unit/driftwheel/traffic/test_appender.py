"""Rows that the appender writes are the rows that the ledger reads, all of a call or none."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from driftwheel.errors import ConflictError, RecordError, StorageError
from driftwheel.records.nouns import Traffic
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.appender import Appender
from tests.support.versions import answered_request

START = datetime(2026, 3, 1, 12, 0, 0, 123456, UTC)
ROW = answered_request(
    "req_0",
    created_at=START,
    is_stream=True,
    prompt="wo ist meine Karte? ü",
    latency_seconds=0.125,
    mean_logprob=-0.5,
    feedback_at=START + timedelta(hours=1),
)


def rows(count: int) -> list[Traffic]:
    return [replace(ROW, id=f"req_{n:04d}", created_at=START + timedelta(seconds=n)) for n in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 63, 64, 65, 200])
def test_what_is_appended_is_what_is_read(ledger: Ledger, count: int) -> None:
    appender = Appender(ledger, Traffic)
    appender.add(rows(count))
    assert ledger.find(Traffic, newest_first=False) == rows(count)
    appender.close()


def test_appended_and_added_rows_are_the_same_to_the_database(ledger: Ledger) -> None:
    appender = Appender(ledger, Traffic)
    appender.add([ROW])
    ledger.add(replace(ROW, id="req_1"))
    with ledger.read() as connection:
        first, second = connection.exec_driver_sql("SELECT * FROM req ORDER BY id").all()
    assert [first[1:], [type(v) for v in first]] == [second[1:], [type(v) for v in second]]
    appender.close()


def test_an_id_that_is_taken_keeps_the_whole_call_out(ledger: Ledger) -> None:
    appender = Appender(ledger, Traffic)
    appender.add([ROW])
    with pytest.raises(ConflictError):
        appender.add([*rows(100)[1:], ROW])
    assert ledger.count(Traffic) == 1
    appender.add([replace(ROW, id="req_after")])
    assert ledger.count(Traffic) == 2
    appender.close()


def test_a_value_that_no_column_takes_leaves_no_open_transaction(ledger: Ledger) -> None:
    appender = Appender(ledger, Traffic)
    with pytest.raises(RecordError, match=r"req\.prompt_tokens is an integer beyond 64 bits"):
        appender.add([replace(ROW, prompt_tokens=2**70)])
    with ledger.write():
        pass
    appender.close()


def test_a_database_that_refuses_is_one_error_and_works_again_afterwards(ledger: Ledger) -> None:
    appender = Appender(ledger, Traffic)
    appender.add([ROW])
    with ledger.write() as connection:
        connection.exec_driver_sql("ALTER TABLE req RENAME TO away")
    with pytest.raises(StorageError, match="refused a write"):
        appender.add([replace(ROW, id="req_1")])
    with ledger.write() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO req")
    appender.add([replace(ROW, id="req_1")])
    assert ledger.count(Traffic) == 2
    appender.close()
