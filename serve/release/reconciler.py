"""The reconciler: makes the version that the alias row desires the served one, or refuses it.

A swap is proved before it is used: check the artifact, start its engines (or load its adapter into an engine that runs
its base, or give the only engine its weights), compare their log-probabilities on the probe prompts with the
fingerprint stored at publication, let a canary of the requests through first where that is asked for, then flip the
alias, drain the old engines and keep them warm for a rollback. What fails its proof never gets a user's request.
"""

import asyncio
import time
from functools import partial

import structlog

from driftwheel.backoff import LONGEST_SECONDS, Backoff
from driftwheel.control.controls import canary_plan, published_version
from driftwheel.errors import DriftwheelError, GateError
from driftwheel.identity import utc_now
from driftwheel.machine.gpu_room import FOLDER, is_room_wanted
from driftwheel.records.nouns import Alias, DeploymentStage, ModelVersion
from driftwheel.settings.settings import Settings
from driftwheel.store.alias import find_alias
from driftwheel.store.answer_form import label_field_of
from driftwheel.store.ledger import Ledger
from serve.engines.adapters import StartEngine
from serve.engines.engine import start_artifact
from serve.engines.fleet import fleet_of
from serve.engines.in_place import check_reload
from serve.engines.launchers import ServingEngine
from serve.engines.proof import WrongModelError
from serve.release.canary_counts import CanaryCounts
from serve.release.canary_run import ROLLED_BACK, CanaryFailedError, CanaryRun
from serve.release.deployments import Deployments
from serve.release.follower import Follower, followed
from serve.release.leader import LeaderElection
from serve.release.refused_swap import RefusedSwap
from serve.release.shadow_switch import ShadowSwitch
from serve.release.standby import Standby
from serve.release.unwritten import is_written_down
from serve.routing.table import EngineRoute, RoutingTable
from serve.shadow.mirror import Mirror

POLL_SECONDS = 0.3
REPORT_SECONDS = 15.0
"""How old the observed half of the alias row gets at most; the dashboard calls a much older one silent."""
log = structlog.get_logger()


class Reconciler:
    """Decides which engines there are and what the alias means; runs on the gateway's event loop."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        routes: RoutingTable,
        start: StartEngine = start_artifact,
        mirror: Mirror | None = None,
    ) -> None:
        self._settings, self._ledger, self._routes = settings, ledger, routes
        serve, key = settings.serve, settings.alias_key
        self._fleet = fleet_of(serve, settings.storage, ledger, key, settings.logs, routes, start)
        self.election = LeaderElection(serve, ledger, key)
        self._deployments = Deployments(ledger, key, self.election)
        self._live_id: str | None = None
        self._fence, self._refused = 0, RefusedSwap()
        self._restores = Backoff(first_seconds=LONGEST_SECONDS)
        self._canary: CanaryRun | None = None
        self._shadow = ShadowSwitch(settings.project, ledger, self._fleet, self._deployments, mirror, self._prove_any)
        wanted = partial(is_room_wanted, settings.root / FOLDER)
        self._standby = Standby(settings.serve, self._fleet, routes, self._deployments, self._shadow.end, wanted)
        self._follower = Follower(ledger, routes, self._fleet, self._deployments, self._prove, self._standby.keep)

    def engine_of(self, route: EngineRoute) -> ServingEngine | None:
        """Return the engine behind a route."""
        return self._fleet.engine_of(route)

    async def run(self) -> None:
        """Reconcile until cancelled; whatever goes wrong is logged, and tried again later."""
        while True:
            try:
                if await is_written_down(self._ledger, self._settings.alias_key, self._routes):
                    await self.reconcile()
            except DriftwheelError as error:
                log.error("reconciling failed", error=str(error))
            await asyncio.sleep(POLL_SECONDS)

    async def reconcile(self) -> None:
        """Take one step from what is observed to what is desired, or to what the leader serves."""
        # First of all: a step that takes minutes must begin with the knowledge who leads.
        await self.election.keep()
        row = await asyncio.to_thread(self._read_row)
        if row is not None:
            await self._change_roles(row)
        alias = self._as_seen(row)
        if alias is None:
            return
        await self._fleet.look()
        await self._standby.stop_expired()
        await self._tend()
        if self._canary is not None:
            await self._step_canary(self._canary, alias)
        elif self._is_live(alias) and self._fleet.is_running(alias.version_id):
            await self._report(alias, alias.fence)
            await self._shadow.follow(alias, self._live_id, self._standby)
            if not self._deployments.is_ours:
                await self._follower.step(alias)
        elif await self._must_restore_first(alias) or self._refused.must_wait(alias.fence):
            await self._keep_serving(alias)
        elif self._live_id != alias.version_id or self._fleet.may_start(alias.version_id):
            await self._follow(alias)

    async def stop(self) -> None:
        """Stop every engine."""
        self._standby.cancel()
        await self._fleet.stop()
        await asyncio.to_thread(self._deployments.release)

    async def _change_roles(self, alias: Alias) -> None:
        """Begin to lead where the gateway before this one has left off, or leave a canary to the one that does."""
        rows = self._deployments
        if not self.election.is_leader:
            rows.is_ours, self._canary = False, None
        elif not rows.is_ours:
            await asyncio.to_thread(rows.take_over, alias, self._live_id)
            rows.is_ours = True
            if alias.observed_error is None or alias.observed_fence != alias.fence:
                self._refused = RefusedSwap()
            else:
                # The gateway before refused this version; unless it was a canary that failed, it is tried again later.
                self._refused.note(alias.fence, is_final=alias.observed_error.startswith(ROLLED_BACK))

    def _is_live(self, alias: Alias) -> bool:
        return self._live_id == alias.version_id and self._fence == alias.fence

    async def _must_restore_first(self, alias: Alias) -> bool:
        """Say whether, after a restart, the version before must serve again: beside a canary, or after a refusal."""
        if self._live_id is not None or alias.observed_version_id in (None, alias.version_id):
            return False
        return self._restores.is_due(time.monotonic()) and bool(await asyncio.to_thread(self._plan, alias))

    def _plan(self, alias: Alias) -> list[float]:
        """Return the shares that come before a version is live; none if a leader had it live already."""
        was_live = (alias.observed_version_id, alias.observed_fence) == (alias.version_id, alias.fence)
        return [] if was_live else canary_plan(self._settings.serve, self._ledger, alias)

    async def _follow(self, alias: Alias) -> None:
        """Make the desired version live, or its canary, or refuse it and say why on the alias row."""
        try:
            if alias.version_id != self._live_id and self._fleet.is_only_engine(self._live_id):
                await self._reload(alias, str(self._live_id))
                return
            await self._prove(alias.version_id)
        except DriftwheelError as error:
            await self._refuse(alias, error)
            return
        current = self._as_seen(await asyncio.to_thread(self._read_row))
        if (current is None or current.fence != alias.fence) and alias.version_id != self._live_id:
            # Someone moved the alias while the engine started; the next look follows, this engine stays warm.
            self._standby.keep(alias.version_id)
            return
        shares = await asyncio.to_thread(self._plan, alias)
        if shares and self._live_id not in (None, alias.version_id):
            await self._begin_canary(alias, shares)
        else:
            await self._go_live(alias)

    async def _reload(self, alias: Alias, live_id: str) -> None:
        """Give the only engine the desired version's weights while new requests wait, and make that live."""
        old = await asyncio.to_thread(self._ledger.get, ModelVersion, live_id)
        new = await asyncio.to_thread(published_version, self._ledger, self._settings.project, alias.version_id)
        if await asyncio.to_thread(self._plan, alias):
            raise GateError(f"a canary of {new.id} needs a second engine, and there is one only; promote it directly")
        await self._fleet.bring(new)
        await asyncio.to_thread(check_reload, old, new)
        with self._routes.closed():
            await self._fleet.reload(old, new)
            await self._go_live(alias)
        await asyncio.to_thread(self._deployments.close, old.id)

    async def _go_live(self, alias: Alias) -> None:
        await self._make_live(alias, alias.version_id, alias.fence, None)
        self._fence, self._refused = alias.fence, RefusedSwap()
        log.info("alias flipped", alias=alias.name, version=alias.version_id, fence=alias.fence)

    async def _make_live(self, alias: Alias, version_id: str, fence: int, error: str | None) -> None:
        """Point the alias at a proved version, write that down, and drain the one before it."""
        # Engines, then alias, then rows: an alias never means a version that no engine has, and the rows never say more
        # than users get. A gateway killed in between finds the old rows and does it all again.
        self._fleet.admit(version_id)
        self._routes.point(alias.name, version_id)
        old_id, self._live_id = self._live_id, version_id
        self._standby.forget(version_id)
        await asyncio.to_thread(self._shadow.end, version_id)
        way, drained_id = self._fleet.way(version_id), None
        if old_id not in (None, version_id) and self._fleet.engines(str(old_id)):
            drained_id = str(old_id)
        await asyncio.to_thread(
            self._deployments.go_live, alias, version_id, way=way, fence=fence, error=error, drained_id=drained_id
        )
        if drained_id is not None:
            self._standby.drain(drained_id)

    async def _begin_canary(self, alias: Alias, shares: list[float]) -> None:
        self._fleet.admit(alias.version_id)
        self._standby.forget(alias.version_id)
        await asyncio.to_thread(self._shadow.end, alias.version_id)
        live_id = str(self._live_id)
        serve, dataset = self._settings.serve, self._settings.dataset
        field = await asyncio.to_thread(label_field_of, dataset, self._ledger, live_id)
        counts = CanaryCounts(serve, self._ledger, alias, live_id, alias.version_id, label_field=field)
        self._canary = CanaryRun(serve, counts, self._routes, self._deployments, alias, shares)
        await self._canary.begin()

    async def _step_canary(self, canary: CanaryRun, alias: Alias) -> None:
        """Ask the canary how it goes; go live, refuse, or break it off because the alias moved on."""
        try:
            if alias.fence != canary.alias.fence:
                await self._end_canary(canary, DeploymentStage.SHADOW, "the alias moved on")
                self._standby.keep(canary.version_id)
            elif not self._fleet.is_running(canary.version_id):
                raise CanaryFailedError("its engine died")
            elif await canary.is_over():
                self._canary = None
                await self._go_live(alias)
            else:
                await self._report(alias, alias.observed_fence)
        except CanaryFailedError as error:
            reason = f"{ROLLED_BACK} {error}"
            await self._end_canary(canary, DeploymentStage.DRAINING, reason)
            await self._refuse(alias, CanaryFailedError(reason))

    async def _end_canary(self, canary: CanaryRun, stage: DeploymentStage, reason: str) -> None:
        self._routes.splits.pop(canary.alias.name, None)
        self._canary = None
        await asyncio.to_thread(self._deployments.end_canary, canary.version_id, stage, reason)

    async def _keep_serving(self, alias: Alias) -> None:
        """While the desired version must wait, keep the last good one up: the live or else the observed one."""
        version_id = self._live_id or alias.observed_version_id
        if version_id is None or version_id == alias.version_id or not self._restores.is_due(time.monotonic()):
            return
        if version_id == self._live_id and self._fleet.is_running(version_id):
            return
        try:
            await self._prove(version_id)
        except DriftwheelError as error:
            log.error("the last good version does not start", version=version_id, error=str(error))
            self._restores.note(time.monotonic())
            return
        fence = alias.fence if alias.fence == self._refused.fence else alias.observed_fence
        await self._make_live(alias, version_id, fence, alias.observed_error)
        log.info("last good version serves", alias=alias.name, version=version_id, desired=alias.version_id)

    async def _prove(self, version_id: str) -> None:
        """Have the engines of a version that may serve users running and proved."""
        await self._ensure(await asyncio.to_thread(published_version, self._ledger, self._settings.project, version_id))

    async def _prove_any(self, version_id: str) -> None:
        """Do so for a version that was published or not."""
        await self._ensure(await asyncio.to_thread(self._ledger.get, ModelVersion, version_id))

    async def _ensure(self, version: ModelVersion) -> None:
        """Have a version's engines running and proved, with no more engines at a time than two versions need."""
        if not self._fleet.is_running(version.id):
            await self._fleet.bring(version)
            await self._standby.make_room(version, self._live_id)
        await self._fleet.ensure(version)

    async def _tend(self) -> None:
        """Take dead engines of the serving versions out, and have the missing ones started beside those that live."""
        serving = [v for v in (self._live_id, self._canary.version_id if self._canary else None) if v]
        for version_id in serving:
            self._fleet.drop_dead(version_id)
            if self._fleet.is_running(version_id) or self._canary is not None:
                self._fleet.refill(await asyncio.to_thread(self._ledger.get, ModelVersion, version_id))

    async def _report(self, alias: Alias, fence: int) -> None:
        """Say now and then that the live version still serves."""
        age = (utc_now() - alias.observed_at).total_seconds() if alias.observed_at else REPORT_SECONDS
        if abs(age) >= REPORT_SECONDS:
            await asyncio.to_thread(self._deployments.observe, alias, self._live_id, fence=fence)

    def _read_row(self) -> Alias | None:
        self._routes.seen = find_alias(self._ledger, *self._settings.alias_key)
        return self._routes.seen

    def _as_seen(self, row: Alias | None) -> Alias | None:
        """Return the alias row as this gateway is to see it: as it is, or what the leader made of it."""
        return row if row is None or self._deployments.is_ours else followed(row)

    async def _refuse(self, alias: Alias, error: DriftwheelError) -> None:
        log.error("swap refused", version=alias.version_id, fence=alias.fence, error=str(error))
        is_canary = isinstance(error, CanaryFailedError)
        if is_canary or alias.version_id != self._live_id:
            await self._standby.retire(alias.version_id, in_background=is_canary)
        # A wrong model is not tried again at this fence while another version serves: each try costs a start.
        is_final = (is_canary or isinstance(error, WrongModelError)) and self._live_id not in (None, alias.version_id)
        self._refused.note(alias.fence, is_final=is_final)
        await asyncio.to_thread(self._deployments.observe, alias, self._live_id, fence=alias.fence, error=str(error))
