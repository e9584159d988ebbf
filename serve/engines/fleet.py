"""The fleet: the proved engines of each version, started here or found elsewhere.

What fails its proof is stopped and never gets into the routing table. A replica that dies is started again in the
background, with a wait that doubles, while the others answer.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import structlog

from driftwheel.backoff import Backoff
from driftwheel.errors import DriftwheelError, EngineError
from driftwheel.files.stored_artifacts import Report
from driftwheel.files.version_files import bring
from driftwheel.records.alias_key import AliasKey
from driftwheel.records.nouns import ModelVersion
from driftwheel.settings.serving import ServeSettings
from driftwheel.settings.settings import StorageSettings
from driftwheel.store.ledger import Ledger
from serve.engines.adapters import Slot, StartEngine
from serve.engines.engine import Engine, start_artifact
from serve.engines.hosted import HostBook, HostedLauncher
from serve.engines.in_place import reload_weights
from serve.engines.launchers import LAUNCHERS, Launcher, ServingEngine, launcher_for
from serve.engines.proof import prove
from serve.routing.table import EngineRoute, RoutingTable, wait_idle

log = structlog.get_logger()


@dataclass(eq=False)
class Replica:
    """One engine of a version; it has a route once it is proved."""

    engine: ServingEngine
    place: str
    """Where its launcher put it; a version has one engine at each place."""
    route: EngineRoute | None = None


@dataclass(eq=False)
class ReplicaSet:
    """The engines of one version."""

    replicas: list[Replica] = field(default_factory=list)
    backoff: Backoff = field(default_factory=lambda: Backoff(first_seconds=0))
    is_admitted: bool = False
    """Whether its proved engines are in the routing table."""
    restart: "asyncio.Task[None] | None" = None


class Fleet:
    """Starts, proves and stops engines; everything slow runs in threads."""

    def __init__(
        self,
        serve: ServeSettings,
        logs: Path,
        routes: RoutingTable,
        start: StartEngine = start_artifact,
        launchers: Sequence[type[Launcher]] = LAUNCHERS,
        storage: StorageSettings | None = None,
        hosts: HostBook | None = None,
    ) -> None:
        self._serve, self._routes, self._storage, self._hosts = serve, routes, storage, hosts
        self._launcher: Launcher
        if hosts is not None and HostedLauncher.takes(serve):
            self._launcher = HostedLauncher(serve, hosts)
        else:
            self._launcher = launcher_for(serve, logs, start, launchers)
        self._sets: defaultdict[str, ReplicaSet] = defaultdict(ReplicaSet)
        self._ending: list[ReplicaSet] = []

    def versions(self) -> list[str]:
        """Return the versions that have an engine, running or dead."""
        return [version_id for version_id, replica_set in self._sets.items() if replica_set.replicas]

    def engines(self, version_id: str) -> list[ServingEngine]:
        """Return a version's engines, running or dead."""
        replica_set = self._sets.get(version_id)
        return [replica.engine for replica in replica_set.replicas] if replica_set else []

    def engine_of(self, route: EngineRoute) -> ServingEngine | None:
        """Return the engine behind a route."""
        replica_set = self._sets.get(route.version_id)
        return next((r.engine for r in replica_set.replicas if r.route is route), None) if replica_set else None

    def is_running(self, version_id: str) -> bool:
        """Say whether at least one engine of a version lives; a living one may still not answer."""
        return any(engine.is_running for engine in self.engines(version_id))

    def needs_engine(self, version: ModelVersion) -> bool:
        """Say whether a version needs an engine that does not run yet; an adapter may find one on its base."""
        return self._launcher.needs_start(version)

    def may_start(self, version_id: str) -> bool:
        """Say whether the wait after a version's last restart is over."""
        return self._sets[version_id].backoff.is_due(time.monotonic())

    async def look(self) -> None:
        """Learn what engines there are elsewhere, if some are."""
        if self._serve.engine_hosts and self._hosts is not None:
            await asyncio.to_thread(self._hosts.look)

    async def bring(self, version: ModelVersion, report: Report = lambda done, all: None) -> None:
        """Have a version's files here, if it is here that its engines load them; raises ArtifactError, StorageError."""
        if self._serve.starts_engines and self._storage is not None:
            await asyncio.to_thread(bring, self._storage, version, report)

    async def ensure(self, version: ModelVersion) -> None:
        """Have every replica of a version running and proved.

        If some replicas do not start, a version that serves already goes on with those that it has; for any other
        version the first replica's error is raised.
        """
        replica_set = self._sets[version.id]
        self._clear_dead(version.id, replica_set)
        self._launcher.check(version)
        # Those that serve already are proved again: their weights may have been changed behind our back.
        await asyncio.gather(*(prove(self._serve, version, r.engine) for r in replica_set.replicas if r.route))
        missing = await self._missing(version, replica_set)
        if replica_set.is_admitted and missing:
            replica_set.backoff.note(time.monotonic())
        results = await asyncio.gather(*missing, return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        for failure in failures:
            log.error("a replica did not start", version=version.id, error=str(failure))
        if failures and not (replica_set.is_admitted and self.is_running(version.id)):
            raise failures[0]

    def admit(self, version_id: str) -> None:
        """Put a version's proved engines into the routing table."""
        replica_set = self._sets[version_id]
        replica_set.is_admitted = True
        present = self._routes.replicas(version_id)
        for replica in replica_set.replicas:
            if replica.route is not None and replica.route not in present:
                self._routes.add(replica.route)

    def drop_dead(self, version_id: str) -> None:
        """Take a version's dead engines out at once."""
        if version_id in self._sets:
            self._clear_dead(version_id, self._sets[version_id])

    def refill(self, version: ModelVersion) -> None:
        """Start what is missing of a serving version in the background, when its wait is over."""
        replica_set = self._sets[version.id]
        is_short = len(replica_set.replicas) < self._launcher.engines_per_version
        if is_short and (replica_set.restart is None or replica_set.restart.done()) and self.may_start(version.id):
            replica_set.restart = asyncio.create_task(self._refill(version))

    def is_adapter(self, version_id: str) -> bool:
        """Say whether a version has slots in engines that others share."""
        return any(isinstance(engine, Slot) for engine in self.engines(version_id))

    def way(self, version_id: str) -> str:
        """Say how a version is served."""
        if self.is_only_engine(version_id):
            return "weights in the only engine"
        return next((engine.way for engine in self.engines(version_id)), "engine that died meanwhile")

    def is_only_engine(self, version_id: str | None) -> bool:
        """Say whether a version runs in an engine that can be given other weights, because no second one fits."""
        found = [e for e in self.engines(version_id or "") if isinstance(e, Engine) and e.name != version_id]
        return any(engine.is_running for engine in found)

    async def reload(self, old: ModelVersion, new: ModelVersion) -> None:
        """Give the only engine other weights and prove them; no request reaches it meanwhile.

        What fails its proof gives way to the old weights, proved too, before the error is raised.
        """
        # Out of the table first: the health check must not meet a paused engine.
        (replica,) = self._drop(old.id).replicas
        engine, served = cast(Engine, replica.engine), old
        try:
            if replica.route and not await wait_idle([replica.route], self._serve.drain_timeout_seconds):
                raise EngineError(
                    f"{old.id} still had requests after serve.drain_timeout_seconds, so its weights were left alone"
                )
            served = new
            await self._put(new, engine)
        except DriftwheelError:
            if served is new:
                await self._put_back(old, engine)
            served = old
            raise
        finally:
            if engine.is_running:
                replica.route = EngineRoute(
                    served.id, engine.host, engine.port, engine.name, last_token_at=time.monotonic()
                )
                self._sets[served.id] = ReplicaSet([replica], is_admitted=True)
                self._routes.add(replica.route)

    async def _put(self, version: ModelVersion, engine: Engine) -> None:
        self._launcher.check(version)
        await asyncio.to_thread(reload_weights, engine, Path(version.path))
        await prove(self._serve, version, engine)
        log.info("weights reloaded in place", version=version.id)

    async def _put_back(self, version: ModelVersion, engine: Engine) -> None:
        try:
            await self._put(version, engine)
        except DriftwheelError as error:
            log.error("the old weights are not back; the engine is started again", error=str(error))
            await asyncio.to_thread(engine.stop)

    def take_out(self, version_id: str) -> ReplicaSet:
        """Forget a version at once, so that no new request meets it; its engines still finish what they have."""
        replica_set = self._drop(version_id)
        self._ending.append(replica_set)
        return replica_set

    def _drop(self, version_id: str) -> ReplicaSet:
        replica_set = self._sets.pop(version_id, ReplicaSet())
        if replica_set.restart is not None:
            replica_set.restart.cancel()
        for replica in replica_set.replicas:
            if replica.route is not None and replica.route in self._routes.replicas(version_id):
                self._routes.drop(replica.route)
        return replica_set

    async def stop_replicas(self, replica_set: ReplicaSet, drain_seconds: float = 0.0) -> None:
        """Stop engines that were taken out, or unload their adapter, when their last request has ended."""
        routes = [replica.route for replica in replica_set.replicas if replica.route]
        if not await wait_idle(routes, drain_seconds):
            log.error("an old engine still had requests after the drain timeout", version=routes[0].version_id)
        await asyncio.gather(*(asyncio.to_thread(replica.engine.stop) for replica in replica_set.replicas))
        self._ending.remove(replica_set)  # one whose wait was cut short stays, and is stopped with the fleet

    async def stop(self) -> None:
        """Stop every engine."""
        for version_id in list(self._sets):
            self.take_out(version_id)
        replicas = [replica for replica_set in self._ending for replica in replica_set.replicas]
        await asyncio.gather(*(asyncio.to_thread(replica.engine.stop) for replica in replicas))

    async def _refill(self, version: ModelVersion) -> None:
        try:
            await self.ensure(version)
        except DriftwheelError as error:
            self._sets[version.id].backoff.note(time.monotonic())
            log.error("an engine was not restored", version=version.id, error=str(error))

    def _clear_dead(self, version_id: str, replica_set: ReplicaSet) -> None:
        for replica in [replica for replica in replica_set.replicas if replica.route and not replica.engine.is_running]:
            log.error("engine died", version=version_id, last_words=replica.engine.last_words())
            replica_set.replicas.remove(replica)
            if replica.route in self._routes.replicas(version_id):
                self._routes.drop(replica.route)
            replica.engine.stop()  # its children may have outlived it; the process itself is gone, so this is quick

    async def _missing(self, version: ModelVersion, replica_set: ReplicaSet) -> "list[asyncio.Task[None]]":
        places = await self._launcher.places(version)
        taken = {replica.place for replica in replica_set.replicas}
        wanted = [place for place in places if place not in taken]
        return [asyncio.create_task(self._start_one(version, replica_set, place)) for place in wanted]

    async def _start_one(self, version: ModelVersion, replica_set: ReplicaSet, place: str) -> None:
        began_at = time.monotonic()
        engine = await asyncio.to_thread(self._launcher.launch, version, place)
        await self._join(version, replica_set, engine, place)
        log.info("engine ready", version=version.id, replica=place, seconds=round(time.monotonic() - began_at, 1))

    async def _join(self, version: ModelVersion, replica_set: ReplicaSet, engine: ServingEngine, place: str) -> None:
        """Make a started engine a replica; one that gives no token or fails its proof is stopped."""
        replica = Replica(engine, place)
        replica_set.replicas.append(replica)
        try:
            await asyncio.to_thread(engine.wait_ready, self._serve.start_timeout_seconds)
            await prove(self._serve, version, engine)
        except BaseException:  # also when the gateway ends meanwhile: no engine outlives its proof
            replica_set.replicas.remove(replica)
            await asyncio.to_thread(engine.stop)
            raise
        replica.route = EngineRoute(version.id, engine.host, engine.port, engine.name, last_token_at=time.monotonic())
        if replica_set.is_admitted:
            self._routes.add(replica.route)


def fleet_of(
    serve: ServeSettings,
    storage: StorageSettings,
    ledger: Ledger,
    key: AliasKey,
    logs: Path,
    routes: RoutingTable,
    start: StartEngine,
) -> Fleet:
    """Return the fleet of a gateway."""
    return Fleet(serve, logs, routes, start, storage=storage, hosts=HostBook(ledger, key))
