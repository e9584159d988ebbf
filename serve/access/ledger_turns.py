"""Turns at the ledger: requests that change it go one after the other, with a rest between two for the traffic log.

Each answer waits until its row is durable, and SQLite lets one program write at a time. A flood of feedback that wrote
as fast as it could took the median answer's wait from 0.1 to 2.1 s; with turns it gets half of the time at most.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from serve.access.backpressure import RETRY_AFTER
from serve.refusals import RequestRefused

MOST_WAITING = 64
"""Requests that wait for their turn; at 2 ms a write the last of them waits for a quarter of a second."""
LONGEST_REST_SECONDS = 0.5
"""After a write that itself had to wait for a lock no longer than this: else one slow moment would make the next."""


class LedgerTurns:
    """The turns of one gateway."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._waiting: Counter[str] = Counter()
        self._rest_ends_at = 0.0

    @asynccontextmanager
    async def turn(self, caller_id: str) -> AsyncIterator[None]:
        """Wait for the caller's turn, or raise RequestRefused: 503 if too many wait, 429 if half of them are its own.

        No key gets more than half of the places, so that one cannot keep the others out.
        """
        if self._waiting.total() >= MOST_WAITING:
            message = f"{MOST_WAITING} requests wait for the ledger already; try again soon"
            raise RequestRefused(503, message, "overloaded", headers=RETRY_AFTER)
        if self._waiting[caller_id] >= MOST_WAITING // 2:
            message = (
                f"this key has {self._waiting[caller_id]} requests waiting for the ledger; send one after the other"
            )
            raise RequestRefused(429, message, "concurrency_limit_exceeded", headers=RETRY_AFTER)
        self._waiting[caller_id] += 1
        try:
            async with self._turn:
                await asyncio.sleep(max(0.0, self._rest_ends_at - time.monotonic()))
                began_at = time.monotonic()
                try:
                    yield
                finally:
                    now = time.monotonic()
                    self._rest_ends_at = now + min(now - began_at, LONGEST_REST_SECONDS)
        finally:
            self._waiting[caller_id] -= 1
            if not self._waiting[caller_id]:
                del self._waiting[caller_id]
