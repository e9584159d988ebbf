"""Of several gateways on one ledger one conducts: it alone writes what becomes of the alias; the others follow it.

The alias' row names the conductor and counts its beats. A gateway that finds the same beat a few times in a row takes
its place, and no clock has to agree with another for that. Whatever the conductor writes, it writes in a transaction
that first makes sure that it still conducts; so one that was stopped for a while changes nothing when it goes on.
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

BEAT_SECONDS = 2.0
LOOKS_WITHOUT_A_BEAT = 5
"""A conductor that was silent for so many looks is replaced, about 10 s after its death."""
TRUST_SECONDS = 3 * BEAT_SECONDS
"""So long after its last beat a conductor believes in itself; less than the others wait."""
log = structlog.get_logger()
_ALIAS = TABLES[Alias].c


class Conductor:
    """Whether this gateway conducts the alias of its settings."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._alias, self._ledger = settings.serve.alias, ledger
        # Only one process listens on a port: who finds its own place in the row is the next one there.
        self._place = f"{socket.gethostname()}:{settings.serve.port}"
        self.name = f"{self._place}/{secrets.token_hex(4)}"
        self._looked_at = self._beaten_at = -BEAT_SECONDS
        self._found: tuple[str | None, int | None] = (None, None)
        self._looks = 0
        self._has_beaten = False

    @property
    def is_conducting(self) -> bool:
        """Whether this gateway may act for all: it has said so lately."""
        return self._has_beaten and time.monotonic() - self._beaten_at < TRUST_SECONDS

    async def run(self) -> None:
        """Look for ever; what takes long elsewhere must not make a conductor silent."""
        while True:
            try:
                await self.keep()
            except StorageError as error:
                self._looks = 0
                log.error("the alias could not be read", error=str(error))
            await asyncio.sleep(BEAT_SECONDS / 4)

    async def keep(self) -> None:
        """Look if it is time to; raises StorageError."""
        if time.monotonic() - self._looked_at >= BEAT_SECONDS:
            self._looked_at = time.monotonic()
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Beat if this gateway conducts or nobody else does; blocks. Raises StorageError."""
        looked_at = time.monotonic()
        rows = self._ledger.find(Alias, id=self._alias)
        if not rows:
            return
        found = (rows[0].conductor, rows[0].beats)
        self._looks = self._looks + 1 if found == self._found else 0
        self._found = found
        if not self._may_take(rows[0].conductor):
            self._has_beaten = False
            return
        beats = (rows[0].beats or 0) + 1
        is_same = sa.and_(_ALIAS.conductor.is_not_distinct_from(found[0]), _ALIAS.beats.is_not_distinct_from(found[1]))
        with self._ledger.write() as connection:
            changed = sa.update(TABLES[Alias]).where(_ALIAS.id == self._alias, is_same)
            done = connection.execute(changed.values(conductor=self.name, beats=beats))
        if done.rowcount == 1:
            if found[0] != self.name:
                log.info("this gateway conducts", alias=self._alias, before=found[0])
            self._beaten_at, self._has_beaten = looked_at, True

    def _may_take(self, holder: str | None) -> bool:
        is_free = holder is None or holder.rpartition("/")[0] == self._place
        return is_free or self._looks >= LOOKS_WITHOUT_A_BEAT

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Give a connection inside a write transaction of the conductor; raises ConflictError if it is another."""
        with self._ledger.write() as connection:
            query = sa.select(_ALIAS.conductor).where(_ALIAS.id == self._alias).with_for_update()
            holder = connection.execute(query).scalar_one_or_none()
            if holder != self.name:
                self._has_beaten = False
                raise ConflictError(f"alias {self._alias!r} is conducted by {holder} now; this gateway follows it")
            yield connection
