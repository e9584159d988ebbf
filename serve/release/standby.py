"""Warm standby: keeps the previous version's engines for a rollback, until time or memory is needed.

Nothing is stopped or unloaded before its last request has ended.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine

import structlog

from driftwheel.records.nouns import DeploymentStage, ModelVersion
from driftwheel.settings.serving import ServeSettings
from serve.engines.fleet import Fleet, ReplicaSet
from serve.engines.lora import SLOTS
from serve.release.deployments import Deployments
from serve.routing.table import RoutingTable

log = structlog.get_logger()


class Standby:
    """The versions of a fleet that are not live; `leave` is told of each that ends.

    `is_room_wanted` says whether somebody waits for the memory that they take.
    """

    def __init__(
        self,
        serve: ServeSettings,
        fleet: Fleet,
        routes: RoutingTable,
        deployments: Deployments,
        leave: Callable[[str], None],
        is_room_wanted: Callable[[], bool],
    ) -> None:
        self._serve, self._fleet, self._routes, self._deployments = serve, fleet, routes, deployments
        self._leave, self._is_room_wanted = leave, is_room_wanted
        self._warm_until: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def keep(self, version_id: str) -> None:
        """Keep a version's engines warm for a while."""
        self._warm_until[version_id] = time.monotonic() + self._serve.keep_warm_seconds

    def forget(self, version_id: str) -> None:
        """Let a version's time not run out: it serves."""
        self._warm_until.pop(version_id, None)

    async def stop_expired(self) -> None:
        """Retire what has been warm for long enough; all of it where a training or an evaluation waits for a GPU."""
        now = time.monotonic()
        if len(self._warm_until) > 0 and await asyncio.to_thread(self._is_room_wanted):
            log.info("warm engines give way on the GPU", versions=list(self._warm_until))
            self._warm_until = dict.fromkeys(self._warm_until, -1.0)
        for version_id in [v for v, until in self._warm_until.items() if now > until]:
            await self.retire(version_id, in_background=True)

    async def make_room(self, version: ModelVersion, live_id: str | None) -> None:
        """Retire old versions: all where another engine must start, else those that the running one has no slot for."""
        others = [v for v in self._fleet.versions() if v not in (live_id, version.id)]
        if await asyncio.to_thread(self._fleet.needs_engine, version):
            for other in others:
                await self.retire(other)
        else:
            loaded = [other for other in others if self._fleet.is_adapter(other)]
            # Two slots are for the live version and the one that comes.
            for other in loaded[: max(0, len(loaded) + 2 - SLOTS)]:
                await self.retire(other, in_background=True)

    async def retire(self, version_id: str, *, in_background: bool = False) -> None:
        """Give a version no new request, let it finish what it has, then stop its engines or unload its adapter."""
        self.forget(version_id)
        # The mirror first: a copy that it sent now would find no engine.
        await asyncio.to_thread(self._leave, version_id)
        ending = self._end(version_id, self._fleet.take_out(version_id))
        if in_background:
            self._in_background(ending)
        else:
            await ending

    def drain(self, version_id: str) -> None:
        """Have a version that was live finish what it has, and stay warm then."""
        self._in_background(self._drain(version_id))

    def cancel(self) -> None:
        """Wait for no request any more; the fleet stops what is left."""
        for task in self._tasks:
            task.cancel()

    async def _end(self, version_id: str, replica_set: ReplicaSet) -> None:
        await self._fleet.stop_replicas(replica_set, self._serve.drain_timeout_seconds)
        if version_id not in self._fleet.versions():  # nobody has asked for it again meanwhile
            await asyncio.to_thread(self._deployments.close, version_id)

    async def _drain(self, version_id: str) -> None:
        if not await self._routes.wait_idle(version_id, self._serve.drain_timeout_seconds):
            log.error("old engine still had requests after the drain timeout", version=version_id)
        if version_id in self._routes.aliases.values() or version_id not in self._fleet.versions():
            return  # rolled back meanwhile, or retired for another
        await asyncio.to_thread(self._deployments.restage, version_id, DeploymentStage.DRAINING, DeploymentStage.SHADOW)
        self.keep(version_id)

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        # Kept here because the event loop holds its tasks only weakly.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
