"""Leader election among the gateways of one ledger: the leader alone writes what becomes of the alias; others follow.

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
from driftwheel.records import Alias
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES

HEARTBEAT_SECONDS = 2.0
LOOKS_WITHOUT_HEARTBEAT = 5
"""A leader that was silent for so many looks is replaced, about 10 s after its death."""
TRUST_SECONDS = 3 * HEARTBEAT_SECONDS
"""So long after its last heartbeat a leader believes in itself; less than the others wait."""
log = structlog.get_logger()
_ALIAS = TABLES[Alias].c


class LeaderElection:
    """Whether this gateway leads for the alias of its settings."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._alias, self._ledger = settings.serve.alias, ledger
        # Only one process listens on a port: who finds its own place in the row is the next one there.
        self._place = f"{socket.gethostname()}:{settings.serve.port}"
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
                # A silence that was not heard is none: after an outage of the database nobody takes over at once.
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
        rows = self._ledger.find(Alias, id=self._alias)
        if not rows:
            return
        found = (rows[0].conductor, rows[0].beats)
        self._looks = self._looks + 1 if found == self._found else 0
        self._found = found
        if not self._may_take(rows[0].conductor):
            self._was_elected = False
            return
        heartbeats = (rows[0].beats or 0) + 1
        # Only where the row is still as it was read: of two that take over at once, one changes no row.
        is_same = sa.and_(_ALIAS.conductor.is_not_distinct_from(found[0]), _ALIAS.beats.is_not_distinct_from(found[1]))
        with self._ledger.write() as connection:
            changed = sa.update(TABLES[Alias]).where(_ALIAS.id == self._alias, is_same)
            done = connection.execute(changed.values(conductor=self.name, beats=heartbeats))
        if done.rowcount == 1:
            if found[0] != self.name:
                log.info("this gateway conducts", alias=self._alias, before=found[0])
            # The moment before the row was read: a write that hung must not lengthen the trust.
            self._heartbeat_at, self._was_elected = looked_at, True

    def _may_take(self, holder: str | None) -> bool:
        is_free = holder is None or holder.rpartition("/")[0] == self._place
        return is_free or self._looks >= LOOKS_WITHOUT_HEARTBEAT

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Give a connection inside a write transaction of the leader; raises ConflictError if it is another."""
        with self._ledger.write() as connection:
            # The lock keeps a new leader's first heartbeat out until this transaction has ended.
            query = sa.select(_ALIAS.conductor).where(_ALIAS.id == self._alias).with_for_update()
            holder = connection.execute(query).scalar_one_or_none()
            if holder != self.name:
                self._was_elected = False
                raise ConflictError(f"alias {self._alias!r} is led by {holder} now; this gateway follows it")
            yield connection
