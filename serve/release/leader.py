"""Leader election among the gateways of one ledger; only the leader writes the alias' observed state.

The alias' row names the leader and counts its heartbeats. A gateway that finds the same count a few times in a row
takes its place, and no clock has to agree with another for that. Whatever the leader writes, it writes in a transaction
that first makes sure that it still leads (the fencing of a lease); so one that was stopped for a while changes nothing
when it goes on.
"""

import asyncio
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
import structlog

from driftwheel.errors import ConflictError, StorageError
from driftwheel.records.alias_key import AliasKey
from driftwheel.settings.serving import ServeSettings
from driftwheel.store.alias import find_alias, leader_of, send_heartbeat
from driftwheel.store.ledger import Ledger

HEARTBEAT_SECONDS = 2.0
"""Each is a commit, also where there is one gateway."""
LOOKS_WITHOUT_HEARTBEAT = 5
"""A leader that was silent for so many looks is replaced, about 10 s after its death."""
TRUST_SECONDS = 3 * HEARTBEAT_SECONDS
"""So long after its last heartbeat a leader believes in itself; less than the others wait."""
log = structlog.get_logger()


class LeaderElection:
    """Whether this gateway leads for the alias of its settings."""

    def __init__(self, serve: ServeSettings, ledger: Ledger, key: AliasKey) -> None:
        self._ledger, self._key = ledger, key
        # Only one process listens on a port: who finds its own place in the row is the next one there.
        self._place = f"{socket.gethostname()}:{serve.port}"
        self.name = f"{self._place}/{secrets.token_hex(4)}"
        self._looked_at = self._heartbeat_at = -HEARTBEAT_SECONDS
        self._found: tuple[str | None, int | None] = (None, None)
        self._looks = 0
        self._was_elected = False

    @property
    def is_leader(self) -> bool:
        """Whether this gateway may act for all: it has said so lately."""
        return self._was_elected and time.monotonic() - self._heartbeat_at < TRUST_SECONDS

    async def run(self) -> None:
        """Look for ever; what takes long elsewhere must not make a leader silent."""
        while True:
            try:
                await self.keep()
            except StorageError as error:
                # A failed read is not a missed heartbeat: after an outage of the database nobody takes over at once.
                self._looks = 0
                log.error("the alias could not be read", error=str(error))
            await asyncio.sleep(HEARTBEAT_SECONDS / 4)

    async def keep(self) -> None:
        """Look if it is time to; raises StorageError."""
        if time.monotonic() - self._looked_at >= HEARTBEAT_SECONDS:
            self._looked_at = time.monotonic()
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Send a heartbeat if this gateway leads or nobody else does; blocks. Raises StorageError."""
        looked_at = time.monotonic()
        row = find_alias(self._ledger, *self._key)
        if row is None:
            return
        found = (row.leader, row.heartbeats)
        self._looks = self._looks + 1 if found == self._found else 0
        self._found = found
        if not self._may_take(row.leader):
            self._was_elected = False
            return
        if send_heartbeat(self._ledger, row, self.name):  # of two that take over at once, one changes no row
            if row.leader != self.name:
                log.info("this gateway leads", alias=self._key.name, before=row.leader)
            # The moment before the row was read: a write that hung must not lengthen the trust.
            self._heartbeat_at, self._was_elected = looked_at, True

    def _may_take(self, holder: str | None) -> bool:
        is_free = holder is None or holder.rpartition("/")[0] == self._place
        return is_free or self._looks >= LOOKS_WITHOUT_HEARTBEAT

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Give a connection inside a write transaction of the leader; raises ConflictError if it is another."""
        with self._ledger.write() as connection:
            # The row's lock keeps a new leader's first heartbeat out until this transaction has ended.
            holder = leader_of(connection, *self._key)
            if holder != self.name:
                self._was_elected = False
                raise ConflictError(f"alias {self._key.name!r} is led by {holder} now; this gateway follows it")
            yield connection
