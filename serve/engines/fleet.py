"""The fleet: which versions have proved engines, started here or found elsewhere, as many as the launcher says.

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

from driftwheel.errors import DriftwheelError, EngineError
from driftwheel.records import ModelVersion
from driftwheel.settings.settings import Settings
from serve.engines.adapters import Slot, StartEngine
from serve.engines.backoff import Backoff
from serve.engines.engine import Engine, start_artifact
from serve.engines.in_place import reload_weights
from serve.engines.launchers import LAUNCHERS, Launcher, ServingEngine, launcher_for
from serve.engines.proof import prove
from serve.routing.table import EngineRoute, RoutingTable, wait_idle

log = structlog.get_logger()


@dataclass(eq=False)
class Member:
    """One engine of a version; it has a route once it is proved."""

    engine: ServingEngine
    place: str
    """Where its launcher put it; a version has one engine at each place."""
    route: EngineRoute | None = None


@dataclass(eq=False)
class Crew:
    """The engines of one version."""

    members: list[Member] = field(default_factory=list)
    backoff: Backoff = field(default_factory=lambda: Backoff(first_seconds=0))
    is_admitted: bool = False
    """Whether its proved engines are in the routing table."""
    restart: "asyncio.Task[None] | None" = None


class Fleet:
    """Starts, proves and stops engines; everything slow runs in threads."""

    def __init__(
        self,
        settings: Settings,
        routes: RoutingTable,
        start: StartEngine = start_artifact,
        launchers: Sequence[type[Launcher]] = LAUNCHERS,
    ) -> None:
        self._serve, self._routes = settings.serve, routes
        self._launcher = launcher_for(settings, start, launchers)
        self._crews: defaultdict[str, Crew] = defaultdict(Crew)
        self._ending: list[Crew] = []

    def versions(self) -> list[str]:
        """Return the versions that have an engine, running or dead."""
        return [version_id for version_id, crew in self._crews.items() if crew.members]

    def engines(self, version_id: str) -> list[ServingEngine]:
        """Return a version's engines, running or dead."""
        crew = self._crews.get(version_id)
        return [member.engine for member in crew.members] if crew else []

    def engine_of(self, route: EngineRoute) -> ServingEngine | None:
        """Return the engine behind a route."""
        crew = self._crews.get(route.version_id)
        return next((m.engine for m in crew.members if m.route is route), None) if crew else None

    def is_running(self, version_id: str) -> bool:
        """Say whether at least one engine of a version lives; a living one may still not answer."""
        return any(engine.is_running for engine in self.engines(version_id))

    def needs_engine(self, version: ModelVersion) -> bool:
        """Say whether a version needs an engine that does not run yet; an adapter may find one on its base."""
        return self._launcher.needs_start(version)

    def may_start(self, version_id: str) -> bool:
        """Say whether the wait after a version's last restart is over."""
        return self._crews[version_id].backoff.is_due(time.monotonic())

    async def ensure(self, version: ModelVersion) -> None:
        """Have every replica of a version running and proved.

        One that serves already may be short of some replicas afterwards. Raises what went wrong with the first else.
        """
        crew = self._crews[version.id]
        self._clear_dead(version.id, crew)
        self._launcher.check(version)
        # Those that serve already are proved again: their weights may have been changed behind our back.
        await asyncio.gather(*(prove(self._serve, version, m.engine) for m in crew.members if m.route))
        missing = await self._missing(version, crew)
        if crew.is_admitted and missing:
            crew.backoff.note(time.monotonic())
        results = await asyncio.gather(*missing, return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        for failure in failures:
            log.error("a replica did not start", version=version.id, error=str(failure))
        if failures and not (crew.is_admitted and self.is_running(version.id)):
            raise failures[0]

    def admit(self, version_id: str) -> None:
        """Put a version's proved engines into the routing table."""
        crew = self._crews[version_id]
        crew.is_admitted = True
        present = self._routes.replicas(version_id)
        for member in crew.members:
            if member.route is not None and member.route not in present:
                self._routes.add(member.route)

    def drop_dead(self, version_id: str) -> None:
        """Take a version's dead engines out at once."""
        if version_id in self._crews:
            self._clear_dead(version_id, self._crews[version_id])

    def refill(self, version: ModelVersion) -> None:
        """Start what is missing of a serving version in the background, when its wait is over."""
        crew = self._crews[version.id]
        is_short = len(crew.members) < self._launcher.engines_per_version
        if is_short and (crew.restart is None or crew.restart.done()) and self.may_start(version.id):
            crew.restart = asyncio.create_task(self._refill(version))

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
        (member,) = self._drop(old.id).members  # out of the table first: the health check must not meet a paused engine
        engine, served = cast(Engine, member.engine), old
        try:
            if member.route and not await wait_idle([member.route], self._serve.drain_timeout_seconds):
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
                member.route = EngineRoute(
                    served.id, engine.host, engine.port, engine.name, last_token_at=time.monotonic()
                )
                self._crews[served.id] = Crew([member], is_admitted=True)
                self._routes.add(member.route)

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

    def take_out(self, version_id: str) -> Crew:
        """Forget a version at once, so that no new request meets it; its engines still finish what they have."""
        crew = self._drop(version_id)
        self._ending.append(crew)
        return crew

    def _drop(self, version_id: str) -> Crew:
        crew = self._crews.pop(version_id, Crew())
        if crew.restart is not None:
            crew.restart.cancel()
        for member in crew.members:
            if member.route is not None and member.route in self._routes.replicas(version_id):
                self._routes.drop(member.route)
        return crew

    async def stop_crew(self, crew: Crew, drain_seconds: float = 0.0) -> None:
        """Stop engines that were taken out, or unload their adapter, when their last request has ended."""
        routes = [member.route for member in crew.members if member.route]
        if not await wait_idle(routes, drain_seconds):
            log.error("an old engine still had requests after the drain timeout", version=routes[0].version_id)
        await asyncio.gather(*(asyncio.to_thread(member.engine.stop) for member in crew.members))
        self._ending.remove(crew)  # one whose wait was cut short stays, and is stopped with the fleet

    async def stop(self) -> None:
        """Stop every engine."""
        for version_id in list(self._crews):
            self.take_out(version_id)
        members = [member for crew in self._ending for member in crew.members]
        await asyncio.gather(*(asyncio.to_thread(member.engine.stop) for member in members))

    async def _refill(self, version: ModelVersion) -> None:
        try:
            await self.ensure(version)
        except DriftwheelError as error:
            self._crews[version.id].backoff.note(time.monotonic())
            log.error("an engine was not restored", version=version.id, error=str(error))

    def _clear_dead(self, version_id: str, crew: Crew) -> None:
        for member in [member for member in crew.members if member.route and not member.engine.is_running]:
            log.error("engine died", version=version_id, last_words=member.engine.last_words())
            crew.members.remove(member)
            if member.route in self._routes.replicas(version_id):
                self._routes.drop(member.route)
            member.engine.stop()  # its children may have outlived it; the process itself is gone, so this is quick

    async def _missing(self, version: ModelVersion, crew: Crew) -> "list[asyncio.Task[None]]":
        taken = {member.place for member in crew.members}
        wanted = [place for place in await self._launcher.places(version) if place not in taken]
        return [asyncio.create_task(self._start_one(version, crew, place)) for place in wanted]

    async def _start_one(self, version: ModelVersion, crew: Crew, place: str) -> None:
        began_at = time.monotonic()
        engine = await asyncio.to_thread(self._launcher.launch, version, place)
        await self._join(version, crew, engine, place)
        log.info("engine ready", version=version.id, place=place, seconds=round(time.monotonic() - began_at, 1))

    async def _join(self, version: ModelVersion, crew: Crew, engine: ServingEngine, place: str) -> None:
        """Make a started engine a member; one that gives no token or fails its proof is stopped."""
        member = Member(engine, place)
        crew.members.append(member)
        try:
            await asyncio.to_thread(engine.wait_ready, self._serve.start_timeout_seconds)
            await prove(self._serve, version, engine)
        except BaseException:  # also when the gateway ends meanwhile: no engine outlives its proof
            crew.members.remove(member)
            await asyncio.to_thread(engine.stop)
            raise
        member.route = EngineRoute(version.id, engine.host, engine.port, engine.name, last_token_at=time.monotonic())
        if crew.is_admitted:
            self._routes.add(member.route)
