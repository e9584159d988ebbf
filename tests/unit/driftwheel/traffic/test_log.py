"""A row that is called written is on disk, and feedback finds its row."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import pytest

from driftwheel.errors import ConflictError, DataError, NotFoundError, RecordError, StorageError
from driftwheel.records.nouns import Traffic
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.feedback import Author, give_feedback
from driftwheel.traffic.log import MAX_QUEUED, TrafficLog
from tests.support.versions import answered_request

OWNER = Author(id="")
"""Who asked without a key."""
Append = Callable[[TrafficLog, Traffic], "Future[None]"]
pytestmark = pytest.mark.every_database
ROW = answered_request("req_1")


@contextmanager
def held(ledger: Ledger) -> Iterator[None]:
    """Keep every other writer waiting."""
    with ledger.write() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("LOCK TABLE req IN EXCLUSIVE MODE")
        yield


def test_a_done_future_means_a_row_that_another_connection_sees(ledger: Ledger, append: Append) -> None:
    log = TrafficLog(ledger)
    futures = [append(log, replace(ROW, id=f"req_{n}")) for n in range(1000)]
    wait(futures)
    with closing(Ledger(ledger.url)) as other:
        assert other.count(Traffic) == 1000
    log.close()


def test_a_refused_row_raises_in_its_future_and_the_log_goes_on(ledger: Ledger, append: Append) -> None:
    log = TrafficLog(ledger)
    append(log, ROW).result()
    with pytest.raises(ConflictError):
        append(log, ROW).result()
    append(log, replace(ROW, id="req_2")).result()
    assert ledger.count(Traffic) == 2
    log.close()


def test_a_row_that_no_database_takes_does_not_end_the_log(ledger: Ledger, append: Append) -> None:
    log = TrafficLog(ledger)
    with pytest.raises(RecordError, match=r"req\.prompt_tokens is an integer beyond 64 bits"):
        append(log, replace(ROW, prompt_tokens=2**70)).result(60)
    append(log, replace(ROW, id="req_2")).result(60)
    log.close()


def test_rows_that_would_wait_for_ever_are_refused_at_once(ledger: Ledger, append: Append) -> None:
    log = TrafficLog(ledger)
    with held(ledger):
        futures = [append(log, replace(ROW, id=f"req_{n}")) for n in range(MAX_QUEUED + 1)]
        with pytest.raises(StorageError, match="rows wait"):
            futures[-1].result(0)
    log.close()
    assert ledger.count(Traffic) == sum(future.exception() is None for future in futures) == MAX_QUEUED


def test_a_refused_row_takes_no_other_row_of_its_batch_with_it(ledger: Ledger, append: Append) -> None:
    ledger.add(ROW)
    log = TrafficLog(ledger)
    with held(ledger):  # the log's thread waits for the database, so that the rows after the first form one batch
        first = append(log, replace(ROW, id="req_0"))
        futures = [append(log, replace(ROW, id=f"req_{n}")) for n in (2, 1, 3)]
    wait([first, *futures])
    assert [type(future.exception()) for future in futures] == [type(None), ConflictError, type(None)]
    assert ledger.count(Traffic) == 4
    log.close()


def test_acknowledged_rows_survive_a_kill(settings: Settings) -> None:
    """The child prints an id only after its future is done, then is killed by SIGKILL in the middle of more."""
    url = settings.database_url
    code = f"""
import itertools, os, signal, threading
from dataclasses import replace
from driftwheel.store.ledger import Ledger
from driftwheel.records.nouns import Traffic
from driftwheel.traffic.log import TrafficLog
row = Traffic(id="x", project="p", alias="a", version_id="v", route="/", status_code=200, prompt="", answer="",
              latency_seconds=0.0)
log = TrafficLog(Ledger({url!r}))
for n in itertools.count():
    written = threading.Event()
    log.append(replace(row, id=str(n)), lambda error: error or written.set())
    written.wait(60)
    print(n, flush=True)
    if n == 200:
        for extra in range(1000, 2000):
            log.append(replace(row, id=str(extra)), lambda error: None)
        os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    acknowledged = done.stdout.split()
    assert len(acknowledged) == 201
    with closing(Ledger(url)) as other:
        kept = {row.id for row in other.find(Traffic)}
    assert set(acknowledged) <= kept


@pytest.mark.parametrize(
    ("feedback", "label", "source"),
    [
        ({"thumb": 1}, '{"intent":"card"}', "accepted"),
        ({"thumb": -1}, None, None),
        ({"label": "refund"}, "refund", "label"),
        ({"correction": '{"intent":"refund"}'}, '{"intent":"refund"}', "correction"),
        ({"correction": "whole", "label": "part"}, "whole", "correction"),
    ],
    ids=["thumb up accepts the answer", "thumb down labels nothing", "label", "correction", "correction beats label"],
)
def test_feedback_labels_its_row(
    settings: Settings, ledger: Ledger, feedback: dict[str, Any], label: str | None, source: str | None
) -> None:
    ledger.add(ROW)
    row = give_feedback(settings.traffic, ledger, settings.project, "req_1", author=OWNER, **feedback)
    assert (row.label, row.label_source) == (label, source)
    assert row.feedback_at is not None


def test_feedback_needs_a_request_and_something_to_say(settings: Settings, ledger: Ledger) -> None:
    with pytest.raises(NotFoundError, match="req_9"):
        give_feedback(settings.traffic, ledger, settings.project, "req_9", author=OWNER, thumb=1)
    ledger.add(ROW)
    with pytest.raises(NotFoundError, match="'other'"):
        give_feedback(settings.traffic, ledger, "other", "req_1", author=OWNER, thumb=1)
    with pytest.raises(DataError, match="thumb"):
        give_feedback(settings.traffic, ledger, settings.project, "req_1", author=OWNER)
