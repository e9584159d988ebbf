"""A ledger whose file is replaced or deleted under the gateway is noticed within a batch, and rows that wait, too."""

import threading
from concurrent.futures import Future
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from driftwheel.errors import StorageError
from driftwheel.records.nouns import Traffic
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.log import TrafficLog
from tests.support.whole_loop import request_row


def append(log: TrafficLog, number: int) -> Exception | None:
    done: Future[Exception | None] = Future()
    log.append(request_row("v1", number), done.set_result)
    return done.result(60)


@pytest.mark.parametrize("how", ["replaced", "deleted"])
def test_no_row_is_called_written_that_is_not_in_the_file(settings: Settings, tmp_path: Path, how: str) -> None:
    path, aside = settings.root / "ledger.db", tmp_path / "aside.db"
    with closing(Ledger(settings.database_url)) as ledger, closing(TrafficLog(ledger)) as log:
        assert append(log, 0) is None
        path.rename(aside)
        if how == "replaced":
            Ledger(settings.database_url).close()
        for number in (1, 2):
            error = append(log, number)
            assert isinstance(error, StorageError)
            assert "was replaced or deleted while it was in use" in str(error)
        if how == "replaced":
            with closing(Ledger(settings.database_url)) as other:
                assert other.count(Traffic) == 0
            return
        aside.replace(path)
        assert append(log, 3) is None
        assert {row.id for row in ledger.find(Traffic)} == {"req_00000", "req_00003"}


def test_a_file_that_is_replaced_within_a_batch_is_noticed_before_its_rows_are_acknowledged(
    settings: Settings, tmp_path: Path
) -> None:
    path = settings.root / "ledger.db"
    with closing(Ledger(settings.database_url)) as ledger, closing(TrafficLog(ledger)) as log:
        assert append(log, 0) is None
        done: Future[Exception | None] = Future()
        with ledger.write():  # the batch has looked at the file, and waits for its turn to write
            log.append(request_row("v1", 1), done.set_result)
            while log.stalled_seconds < 0.2:
                threading.Event().wait(0.02)
            path.rename(tmp_path / "aside.db")
        assert isinstance(done.result(60), StorageError)


def test_rows_that_wait_are_seen_to_wait(ledger: Ledger) -> None:
    with closing(TrafficLog(ledger)) as log:
        assert append(log, 0) is None
        done: Future[Exception | None] = Future()
        with ledger.write():
            log.append(replace(request_row("v1", 1)), done.set_result)
            while log.stalled_seconds < 0.05:
                threading.Event().wait(0.01)
        assert done.result(60) is None
        assert append(log, 2) is None
        while log.stalled_seconds:  # its last batch is told before it is over
            threading.Event().wait(0.01)
