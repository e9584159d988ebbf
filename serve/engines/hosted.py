"""Engines of engine hosts: found by what their agents report in the ledger, and proved once more from here.

A host that is silent is not waited for and gives no new engine; those that it gave stay as long as they answer, because
what is silent may be its way to the database alone.
"""

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from driftwheel.control.engine_hosts import HEARTBEAT_SECONDS, EngineState, HostedEngine, HostReport, host_reports
from driftwheel.errors import EngineError, StorageError
from driftwheel.records.alias_key import AliasKey
from driftwheel.records.nouns import ModelVersion
from driftwheel.settings.serving import ServeSettings
from driftwheel.store.ledger import Ledger
from serve.engines.remote import RemoteEngine

LOOK_SECONDS = 1.0
LOOKS_WITHOUT_HEARTBEAT = 5 * HEARTBEAT_SECONDS / LOOK_SECONDS
"""After so many looks a host is silent, in 10 s; not seconds, because an outage of the database is no silence."""
NO_HOST_SECONDS = 10.0
"""Longest wait for the first agent."""


@dataclass(eq=False)
class _Seen:
    report: HostReport
    looks: int = 0
    """In a row that showed the same heartbeat."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """An engine of a host as its agent reported it."""

    host: HostReport
    engine: HostedEngine

    @property
    def key(self) -> str:
        """Name it: an agent that starts again has other engines, also where ports are the same."""
        return f"{self.host.name} {self.host.session} {self.engine.port} {self.engine.model}"


@dataclass(eq=False)
class HostBook:
    """What the hosts of an alias last said, and whether they go on saying things."""

    ledger: Ledger
    key: AliasKey
    _seen: dict[str, _Seen] = field(default_factory=dict)
    _looked_at: float = -LOOK_SECONDS
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def look(self) -> None:
        """Read the reports if it is time to; blocks. A ledger that refuses leaves the book as it is."""
        with self._lock:
            if time.monotonic() - self._looked_at < LOOK_SECONDS:
                return
            self._looked_at = time.monotonic()
            try:
                reports = host_reports(self.ledger, self.key)
            except StorageError:
                for seen in self._seen.values():
                    seen.looks = 0
                return
            before = self._seen
            self._seen = {report.name: _seen_again(before.get(report.name), report) for report in reports}

    def hosts(self) -> list[HostReport]:
        """Return the reports of the hosts that are not silent."""
        return [seen.report for seen in self._seen.values() if seen.looks < LOOKS_WITHOUT_HEARTBEAT]

    def proved(self, version_id: str) -> list[Place]:
        """Return the engines of a version that its hosts have proved."""
        return _proved(self.hosts(), version_id)

    def most_engines(self) -> int:
        """Return how many engines the version with the most of them has."""
        hosts = self.hosts()
        versions = {engine.version_id for host in hosts for engine in host.engines}
        return max((len(_proved(hosts, version_id)) for version_id in versions), default=0)

    def still_has(self, name: str, place: str, version_id: str) -> bool:
        """Say whether a host, silent or not, last said that it has an engine."""
        seen = self._seen.get(name)
        return seen is not None and any(found.key == place for found in _proved([seen.report], version_id))


@dataclass(frozen=True)
class EngineAtHost(RemoteEngine):
    """A host's engine, as a gateway reaches it."""

    book: HostBook
    version_id: str
    host_name: str
    place: str
    way: ClassVar[str] = "engine of an engine host"

    @property
    def is_running(self) -> bool:
        """Whether its host has not said that it is gone; whether it answers, the health loop asks."""
        return self.book.still_has(self.host_name, self.place, self.version_id)

    def last_words(self) -> str:
        """Say where its log is."""
        return f"see the log of engine host {self.host_name}"


class HostedLauncher:
    """Waits until the hosts have proved a version; a place is one engine of one start of one host."""

    def __init__(self, serve: ServeSettings, book: HostBook) -> None:
        self._timeout_seconds, self._book = serve.start_timeout_seconds, book

    @classmethod
    def takes(cls, serve: ServeSettings) -> bool:
        """Say whether the settings leave the engines to hosts."""
        return serve.engine_hosts

    @property
    def engines_per_version(self) -> int:
        """As many as hosts have proved of any version; a host that lacks one is asked again and again."""
        return self._book.most_engines()

    def check(self, version: ModelVersion) -> None:
        """Accept it: the bytes are elsewhere, and checked there."""

    def needs_start(self, version: ModelVersion) -> bool:
        """Say yes: its hosts may need the old versions' room."""
        return True

    async def places(self, version: ModelVersion) -> list[str]:
        """Return the engines of a version, once every host that lives has proved or refused it.

        Waits as long as for an engine of this machine; then those that are there are enough. Raises EngineError if
        there is none, with what each host says.
        """
        began_at = time.monotonic()
        while True:
            await asyncio.to_thread(self._book.look)
            hosts, places = self._book.hosts(), self._book.proved(version.id)
            waited_seconds = time.monotonic() - began_at
            is_settled = bool(hosts) and all(_is_settled(host, version.id) for host in hosts)
            if is_settled or waited_seconds > (self._timeout_seconds if hosts else NO_HOST_SECONDS):
                if not places:
                    raise EngineError(_why_none(hosts, version.id, waited_seconds))
                return [place.key for place in places]
            await asyncio.sleep(LOOK_SECONDS / 2)

    def launch(self, version: ModelVersion, place: str) -> EngineAtHost:
        """Return the engine of a place; raises EngineError if it is gone again."""
        found = next((found for found in self._book.proved(version.id) if found.key == place), None)
        if found is None:
            raise EngineError(f"the engine of {version.id} on host {place.partition(' ')[0]} is gone again")
        engine, host = found.engine, found.host
        return EngineAtHost(engine.model, host.address, engine.port, self._book, version.id, host.name, place)


def _seen_again(before: _Seen | None, report: HostReport) -> _Seen:
    is_same = before is not None and before.report.pulse == report.pulse
    return _Seen(report, before.looks + 1 if before is not None and is_same else 0)


def _proved(hosts: Sequence[HostReport], version_id: str) -> list[Place]:
    return [
        Place(host=host, engine=engine)
        for host in hosts
        for engine in host.engines
        if engine.version_id == version_id and engine.state is EngineState.PROVED
    ]


def _is_settled(host: HostReport, version_id: str) -> bool:
    states = {engine.state for engine in host.engines if engine.version_id == version_id}
    return bool(states) and states <= {EngineState.PROVED, EngineState.REFUSED}


def _why_none(hosts: Sequence[HostReport], version_id: str, waited_seconds: float) -> str:
    """Return what each host says of a version that none has proved."""
    if not hosts:
        return "no engine host is there: run `driftwheel engine-host` on a machine that is to have engines"
    said = []
    for host in hosts:
        found = next((engine for engine in host.engines if engine.version_id == version_id), None)
        words = "has not begun" if found is None else f"{found.state}{': ' if found.reason else ''}{found.reason}"
        said.append(f"{host.name} {words}")
    return f"no engine host has proved {version_id} in {waited_seconds:.0f} s: " + "; ".join(said)
