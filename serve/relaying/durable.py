"""Group commit on the event loop: futures that wake when the writer thread has made their rows durable."""

import asyncio
from collections import deque
from functools import partial

from driftwheel.records.nouns import Traffic
from driftwheel.traffic.log import TrafficLog


class DurableRows:
    """The traffic log, for one event loop."""

    def __init__(self, log: TrafficLog) -> None:
        self._log = log
        self._loop: asyncio.AbstractEventLoop
        self._written: deque[tuple[asyncio.Future[Exception | None], Exception | None]] = deque()
        self._is_waking = False

    def append(self, row: Traffic) -> "asyncio.Future[Exception | None]":
        """Queue a row; the future's result is None once it is durable, or the error."""
        self._loop = asyncio.get_running_loop()
        future: asyncio.Future[Exception | None] = self._loop.create_future()
        self._log.append(row, partial(self._put, future))
        return future

    def _put(self, future: "asyncio.Future[Exception | None]", error: Exception | None) -> None:
        self._written.append((future, error))
        if not self._is_waking:  # each wake-up is a system call; the one that is under way takes this row too
            self._is_waking = True
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._is_waking = False
        while self._written:
            future, error = self._written.popleft()
            if not future.done():
                future.set_result(error)
