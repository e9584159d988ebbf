"""The claim of an engine host's name: one agent has it, and whoever lost it is told at its next report."""

import asyncio
import secrets
import socket
from dataclasses import replace
from pathlib import Path

import structlog

from driftwheel.control.engine_hosts import HEARTBEAT_SECONDS, HostedEngine, HostReport, find_report, put_report
from driftwheel.errors import ConflictError
from driftwheel.records.alias_key import AliasKey
from driftwheel.store.ledger import Ledger

LOOKS_WITHOUT_HEARTBEAT = 5
"""Looks, each a heartbeat apart, after which the agent that had the name is taken for dead."""
log = structlog.get_logger()


class NameClaim:
    """Reports under one name; `place` is where this agent runs, and only one runs there."""

    def __init__(self, ledger: Ledger, key: AliasKey, name: str, root: Path, address: str) -> None:
        self._ledger, self.key = ledger, key
        self._is_claimed = False
        self._seen: HostReport | None = None
        self._own = HostReport(
            name=name, place=f"{socket.gethostname()}:{root}", session=secrets.token_hex(8), address=address
        )

    @property
    def address(self) -> str:
        """Where the gateways reach this host."""
        return self._own.address

    async def take(self) -> None:
        """Take the name, once whoever had it is gone; raises ConflictError if it lives, StorageError."""
        for looks in range(LOOKS_WITHOUT_HEARTBEAT + 1):
            found = await asyncio.to_thread(find_report, self._ledger, self.key, self._own.name)
            if looks and (found.pulse if found else None) != (self._seen.pulse if self._seen else None):
                break
            self._seen = found
            is_free = found is None or found.place == self._own.place or looks == LOOKS_WITHOUT_HEARTBEAT
            if is_free:
                await asyncio.to_thread(self.report, ())
                return
            if not looks:
                log.info("waiting until the agent that had this name is seen to be gone", name=self._own.name)
            await asyncio.sleep(HEARTBEAT_SECONDS)
        place = found.place if found else "another machine"
        raise ConflictError(f"engine host {self._own.name!r} runs at {place}; give this one another --name")

    def report(self, engines: tuple[HostedEngine, ...]) -> None:
        """Write what engines there are; blocks. Raises ConflictError if another agent has the name, StorageError."""
        report = replace(self._own, heartbeats=self._own.heartbeats + 1, engines=engines)
        if not put_report(self._ledger, self.key, self._seen, report):
            raise ConflictError(
                f"another agent has taken the name of engine host {report.name!r}; its engines serve, these are stopped"
            )
        self._own = self._seen = report
