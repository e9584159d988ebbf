"""The traffic log: a bounded queue in front of one writer thread, which commits rows in groups.

`TrafficLog.append` calls back when the row's transaction is on disk (group commit): whoever waits for it before
finishing the answer never acknowledges a request that a crash can lose.
"""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import sqlalchemy as sa
import structlog

from driftwheel.errors import DataError, StorageError
from driftwheel.records.nouns import Traffic
from driftwheel.store.ledger import Ledger
from driftwheel.store.row_values import storable
from driftwheel.store.tables import TABLES
from driftwheel.traffic.appender import Appender

MAX_BATCH = 256
"""Rows a transaction. An answer waits for its whole batch, and with this 36,000 rows a second were written."""
MAX_QUEUED = 20_000
"""More rows than this mean that the disk cannot follow: the next ones are refused at once (backpressure)."""
KEEPERS = 2
CROWD_ROWS, GATHER_SECONDS = 4, 0.0005
"""After a commit of so many rows the next one waits a moment for more: a commit costs as much as ten rows."""
log = structlog.get_logger()

Written = Callable[[Exception | None], None]
"""What is called once a row is durable, or with the error if it is not."""
Entry = tuple[Traffic | None, Written, Exception | None]


class TrafficLog:
    """Appends Traffic on one writer thread."""

    def __init__(self, ledger: Ledger, keep: Callable[[Traffic], Traffic | None] | None = None) -> None:
        """Write rows as they are, or what `keep` makes of them; None is not written."""
        self._ledger = ledger
        self._keep = keep
        # Not on the writer's thread: a long text full of numbers takes seconds, and other rows do not wait for it.
        self._keepers = ThreadPoolExecutor(KEEPERS, thread_name_prefix="traffic-rules")
        self._appended = self._finished = 0
        self._writes_since: float | None = None
        self._queue: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._appender = Appender(ledger, Traffic)
        self._thread = threading.Thread(target=self._write_batches, name="traffic-log", daemon=True)
        self._thread.start()

    @property
    def stalled_seconds(self) -> float:
        """How long the rows that are being written have been waiting for the ledger; 0 while none is."""
        since = self._writes_since
        return 0.0 if since is None else time.monotonic() - since

    def append(self, row: Traffic, written: Written) -> None:
        """Queue a row; `written` is called on another thread, or at once with a StorageError if too many rows wait.

        For one thread, usually an event loop's.
        """
        if self._appended - self._finished >= MAX_QUEUED:
            message = f"{MAX_QUEUED} rows wait for the ledger at {self._ledger.address}; check its disk or server"
            written(StorageError(message))
            return
        self._appended += 1
        if self._keep is None:
            self._queue.put((row, written, None))
        else:
            cleaned = self._keepers.submit(self._keep, row)
            cleaned.add_done_callback(lambda kept: self._put_kept(row.id, kept, written))

    def _put_kept(self, request_id: str, cleaned: "Future[Traffic | None]", written: Written) -> None:
        """Queue what is kept of a row; its error is named without the text that may stand in it."""
        if (error := cleaned.exception()) is not None:
            failure = DataError(f"{request_id} was not written: the rules failed on it ({type(error)})")
            self._queue.put((None, written, failure))
        else:
            self._queue.put((cleaned.result(), written, None))

    def mark_partial(self, request_id: str, reason: str) -> None:
        """Make a written row partial, with the reason; raises StorageError."""
        table = TABLES[Traffic]
        with self._ledger.write() as connection:
            connection.execute(
                sa.update(table).where(table.c.id == request_id).values(is_partial=True, error=storable(reason))
            )

    def close(self) -> None:
        """Write what is queued and stop."""
        self._keepers.shutdown()
        self._queue.put(None)
        self._thread.join()

    def _write_batches(self) -> None:
        is_open, is_crowded = True, False
        while is_open:
            batch = [self._queue.get()]
            self._writes_since = time.monotonic()
            if is_crowded:
                time.sleep(GATHER_SECONDS)
            while len(batch) < MAX_BATCH and not self._queue.empty():
                batch.append(self._queue.get())
            is_open, is_crowded = None not in batch, len(batch) >= CROWD_ROWS
            entries = [entry for entry in batch if entry is not None]
            pairs = [(row, written) for row, written, _ in entries if row is not None]
            if pairs:
                self._write(pairs)
            for row, written, error in entries:
                if row is None:
                    written(error)
            self._finished += len(entries)
            self._writes_since = None
        self._appender.close()

    def _write(self, pairs: Sequence[tuple[Traffic, Written]]) -> None:
        """Write rows in one transaction; if one of them is refused, each alone, so that it takes no other with it."""
        failure: Exception | None = None
        try:
            self._appender.add([row for row, _ in pairs])
        except StorageError as error:  # the disk or the database refuses: it would refuse each alone too
            failure = error
        except Exception as error:  # noqa: BLE001  # whatever a row did, the thread goes on: later answers wait for it
            if len(pairs) > 1:
                for pair in pairs:
                    self._write([pair])
                return
            log.error("a row was refused", request_id=pairs[0][0].id, error=str(error))
            failure = error
        for _, written in pairs:
            written(failure)
