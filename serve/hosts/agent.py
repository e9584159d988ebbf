"""The agent of an engine host: has the engines of the wanted versions here, proved, and says so in the ledger.

It begins with the live version, and starts one version at a time beside it: there may be room for one. What is not
wanted any more is reported as leaving first, so that every gateway has let go of it before it is stopped.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from driftwheel.backoff import Backoff
from driftwheel.control.engine_hosts import HEARTBEAT_SECONDS, EngineState, HostedEngine
from driftwheel.errors import ConflictError, DriftwheelError, StorageError
from driftwheel.records.nouns import ModelVersion
from driftwheel.settings.serving import ServeSettings
from driftwheel.store.ledger import Ledger
from serve.engines.fleet import Fleet
from serve.engines.proof import WrongModelError
from serve.hosts.name_claim import NameClaim
from serve.routing.table import RoutingTable

STEP_SECONDS = 0.5
LET_GO_SECONDS = 3.0
"""From the report that an engine leaves to its end: every gateway looks once a second, and ends what it has begun."""
log = structlog.get_logger()


@dataclass(eq=False)
class _Start:
    """How far a version is that is not proved yet."""

    state: EngineState = EngineState.FETCHING
    reason: str = ""
    task: "asyncio.Task[None] | None" = None
    backoff: Backoff = field(default_factory=Backoff)
    is_final: bool = False
    """Whether it is another model, which starting it again does not change."""

    @property
    def is_going_on(self) -> bool:
        return self.task is not None and not self.task.done()


class Agent:
    """Keeps the engines of one host; everything slow runs in threads or tasks of its own."""

    def __init__(
        self,
        serve: ServeSettings,
        ledger: Ledger,
        fleet: Fleet,
        routes: RoutingTable,
        claim: NameClaim,
        wanted: Callable[[], list[str]],
    ) -> None:
        self._serve, self._ledger, self._fleet, self._routes = serve, ledger, fleet, routes
        self._claim, self._wanted = claim, wanted
        self._starts: dict[str, _Start] = {}
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self._said: tuple[HostedEngine, ...] | None = None
        self._said_at = 0.0
        self._is_ending = False

    async def run(self) -> None:
        """Take steps until cancelled; raises ConflictError if another agent has the name now."""
        while True:
            try:
                await self.step()
            except StorageError as error:
                # The engines go on: the gateways know them, and ask them whether they live.
                log.error("the ledger does not answer", error=str(error))
            await asyncio.sleep(STEP_SECONDS)

    async def step(self) -> None:
        """Take one step towards what is wanted, and report."""
        if self._is_ending:
            return
        wanted = await asyncio.to_thread(self._wanted)
        for version_id in [v for v in self._here() if v not in wanted and v not in self._leaving]:
            self._leaving[version_id] = asyncio.create_task(self._leave(version_id))
        for place, version_id in enumerate(wanted):
            self._fleet.drop_dead(version_id)
            if (start := self._starts.get(version_id)) and start.task is not None and start.task.done():
                start.task.result()  # what is no error of ours is a bug, and ends the agent
            if version_id not in self._leaving and self._must_start(version_id, is_first=place == 0):
                start = self._starts.setdefault(version_id, _Start())
                start.task = asyncio.create_task(self._start(start, version_id))
        await self._report()

    async def stop(self) -> None:
        """Let the gateways let go of every engine, then stop all of them."""
        self._is_ending = True
        for start in self._starts.values():
            if start.task is not None:
                start.task.cancel()
        here = [version_id for version_id in self._here() if version_id not in self._leaving]
        for version_id in here:
            self._leaving[version_id] = asyncio.create_task(self._leave(version_id))
        try:
            await self._report()
            await asyncio.gather(*self._leaving.values())
            await self._report()
        except (ConflictError, StorageError) as error:
            log.error("the engines end unreported", error=str(error))
        await self._fleet.stop()

    def _here(self) -> list[str]:
        return list(dict.fromkeys([*self._fleet.versions(), *self._starts]))

    def _must_start(self, version_id: str, *, is_first: bool) -> bool:
        """Say whether a version lacks an engine here and may be given one now."""
        start = self._starts.get(version_id)
        if len(self._routes.replicas(version_id)) >= self._serve.replicas:
            return False
        if start is not None and (start.is_going_on or start.is_final or not start.backoff.is_due(time.monotonic())):
            return False
        return is_first or not any(other.is_going_on for other in self._starts.values())

    async def _start(self, start: _Start, version_id: str) -> None:
        """Fetch a version, start what it lacks of engines, and prove them."""
        start.backoff.note(time.monotonic())

        def tell(done: int, all_bytes: int) -> None:
            start.reason = f"{done / 1e6:.0f} of {all_bytes / 1e6:.0f} MB"

        try:
            version = await asyncio.to_thread(self._ledger.get, ModelVersion, version_id)
            start.state, start.reason = EngineState.FETCHING, ""
            await self._fleet.bring(version, tell)
            start.state, start.reason = EngineState.STARTING, ""
            await self._fleet.ensure(version)
        except DriftwheelError as error:
            start.state, start.reason = EngineState.REFUSED, str(error)
            start.is_final = isinstance(error, WrongModelError)
            log.error("a version is refused here", version=version_id, error=str(error))
            return
        self._fleet.admit(version_id)

    async def _leave(self, version_id: str) -> None:
        """Have the gateways let go of a version's engines, then stop them."""
        start = self._starts.pop(version_id, None)
        if start is not None and start.task is not None:
            # Not cut short: a thread that is about to start an engine would leave one behind that nobody knows.
            await asyncio.gather(start.task, return_exceptions=True)
        if self._routes.replicas(version_id):
            await asyncio.sleep(LET_GO_SECONDS)
        await self._fleet.stop_replicas(self._fleet.take_out(version_id))
        self._leaving.pop(version_id, None)
        log.info("engines stopped", version=version_id)

    async def _report(self) -> None:
        """Say what there is, if it is news or time for a heartbeat."""
        engines = tuple(engine for version_id in self._here() for engine in self._facts(version_id))
        if engines != self._said or time.monotonic() - self._said_at >= HEARTBEAT_SECONDS:
            await asyncio.to_thread(self._claim.report, engines)
            self._said, self._said_at = engines, time.monotonic()

    def _facts(self, version_id: str) -> list[HostedEngine]:
        state = EngineState.LEAVING if version_id in self._leaving else EngineState.PROVED
        found = [
            HostedEngine(version_id=version_id, state=state, model=route.model, port=route.port)
            for route in self._routes.replicas(version_id)
        ]
        start = self._starts.get(version_id)
        if found or start is None:
            return found
        return [HostedEngine(version_id=version_id, state=start.state, reason=start.reason)]
