"""Each request is in one window, whatever the clock does and in whatever order the rows appear."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
import sqlalchemy as sa

from driftwheel.errors import ConflictError
from driftwheel.records.bookkeeping import Window
from driftwheel.records.nouns import DriftSignal, Traffic
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.traffic.outcomes import CLIENT_LEFT
from monitor.observation import OBSERVED, observe
from monitor.windows import Source, close_window, first_answered, first_rows, last_window, pass_over, unread
from tests.support.versions import add_versions, answered_request

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SOURCE = Source(project="support", alias="support", version_id="version_1", label_field=None)
WINDOW_ROWS = 10


@pytest.fixture(autouse=True)
def version(ledger: Ledger) -> None:
    """The version that answers, which each window names."""
    add_versions(ledger, "version_1")


def row(number: int, at: datetime | None = None, *, alias: str = "support", status_code: int = 200) -> Traffic:
    return answered_request(
        f"req_{number:04d}",
        created_at=at or NOW + timedelta(seconds=number),
        alias=alias,
        version_id="version_1",
        route="r",
        status_code=status_code,
        prompt="p",
        answer="a",
    )


def close(ledger: Ledger, window: Window, ids: list[str]) -> None:
    with ledger.write() as connection:
        close_window(ledger, connection, window, ids, [])
        pass_over(connection, SOURCE, window)


def cut(ledger: Ledger) -> list[str] | None:
    """Close the next full window as the monitor does, and return its requests."""
    rows, before = unread(ledger, SOURCE, WINDOW_ROWS), last_window(ledger, "version_1")
    if len(rows) < WINDOW_ROWS:
        return None
    number = before.number + 1 if before else 1
    window = Window(
        id=f"check_{number}",
        project="support",
        version_id="version_1",
        number=number,
        rows=len(rows),
        ended_at=max(r.at or NOW for r in rows),
    )
    close(ledger, window, [r.id for r in rows])
    return [r.id for r in rows]


def ids(numbers: range) -> list[str]:
    return [f"req_{number:04d}" for number in numbers]


@pytest.mark.every_database
def test_windows_follow_one_another_and_use_each_row_once(ledger: Ledger) -> None:
    ledger.add(*(row(n) for n in range(35)), row(900, alias="another"))
    windows = [cut(ledger) for _ in range(4)]
    assert windows == [ids(range(10)), ids(range(10, 20)), ids(range(20, 30)), None]
    assert [w.number for w in ledger.find(Window, newest_first=False)] == [1, 2, 3]


@pytest.mark.every_database
def test_a_row_that_appears_behind_those_checked_is_in_a_later_window(ledger: Ledger) -> None:
    """As of a long answer, a clock that was set back, or the slower one of two gateways."""
    ledger.add(*(row(n) for n in range(10, 20)))
    assert cut(ledger) == ids(range(10, 20))
    ledger.add(row(15_000, NOW + timedelta(seconds=15)), *(row(n, NOW - timedelta(hours=n)) for n in range(9)))
    assert sorted(cut(ledger) or []) == [*ids(range(9)), "req_15000"]
    assert cut(ledger) is None


def test_rows_that_were_deleted_neither_bring_others_back_nor_hide_new_ones(ledger: Ledger) -> None:
    """SQLite gives the number of a deleted last row to the next one: no cursor by number would see it."""
    ledger.add(*(row(n) for n in range(12)))
    assert cut(ledger)
    with ledger.write() as connection:
        connection.execute(sa.delete(TABLES[Traffic]))
    ledger.add(*(row(n) for n in range(20, 30)))
    assert cut(ledger) == ids(range(20, 30))


@pytest.mark.every_database
def test_of_two_monitors_one_checks_a_window_and_the_other_writes_nothing(ledger: Ledger) -> None:
    ledger.add(*(row(n) for n in range(10)))
    taken = [r.id for r in unread(ledger, SOURCE, WINDOW_ROWS)]
    assert cut(ledger)
    late = Window(id="check_late", project="support", version_id="version_1", number=2, rows=10)
    with pytest.raises(ConflictError, match="another monitor"):
        close(ledger, late, taken)
    same = Window(id="check_same", project="support", version_id="version_1", number=1, rows=10)
    with pytest.raises(ConflictError):
        close(ledger, same, [])
    assert [w.id for w in ledger.find(Window)] == ["check_1"]
    assert ledger.count(DriftSignal) == 0


def test_the_first_rows_are_the_first_whatever_became_of_them(ledger: Ledger) -> None:
    ledger.add(*(row(n, status_code=503 if n % 2 else 200) for n in range(40)))
    assert cut(ledger)
    assert [r.id for r in first_rows(ledger, SOURCE, 5)] == ids(range(5))
    assert [r.id for r in first_answered(ledger, SOURCE, 5)] == [f"req_{n:04d}" for n in range(0, 10, 2)]


@pytest.mark.every_database
def test_what_says_nothing_about_the_model_is_in_no_window_and_waits_for_none(ledger: Ledger) -> None:
    """Refused requests, those whose client left, and embeddings; a failure of the engine is in its window."""
    ledger.add(
        *(row(n, status_code=400 if n % 3 == 1 else 200) for n in range(20)),
        replace(row(20), is_partial=True, error=CLIENT_LEFT),
        row(21, status_code=499),
        replace(row(22), route="/v1/embeddings"),
        row(23, status_code=503),
        row(24, status_code=422),
    )
    expected = [n for n in range(20) if n % 3 != 1]
    assert cut(ledger) == [f"req_{n:04d}" for n in expected[:10]]
    passed = [r.id for r in ledger.find(Traffic, check_id="check_1", status_code=400)]
    assert sorted(passed) == [f"req_{n:04d}" for n in range(expected[9]) if n % 3 == 1]
    assert [r.id for r in unread(ledger, SOURCE, 100)] == [*(f"req_{n:04d}" for n in expected[10:]), "req_0023"]
    assert [r.is_failed for r in unread(ledger, SOURCE, 100)] == [False] * 3 + [True]


def test_what_is_observed_of_a_request_is_loaded(ledger: Ledger) -> None:
    """A column that is observed and not loaded would be its default in silence."""
    given = replace(row(1), label='{"intent": "card"}', label_source="correction", latency_seconds=0.7, is_partial=True)
    read = set()

    class Recorder:
        def __getattr__(self, name: str) -> object:
            read.add(name)
            return getattr(given, name)

    ledger.add(given)
    assert unread(ledger, SOURCE, 1) == (observe(given, None),) == (observe(cast(Traffic, Recorder()), None),)
    assert read == OBSERVED
