"""The alias row says which version is desired; the rollout makes it the observed one, and says so.

A swap is proved before it is used: check the artifact, start its engine, compare its log-probabilities on the
probe prompts with the fingerprint stored at publication, then flip the alias, drain the old engine and keep it
warm for a rollback. What fails its proof never gets a user's request; the old version goes on serving, and is
started again if its engine dies or the gateway restarts meanwhile.
"""

import asyncio
import math
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from driftwheel import fingerprint
from driftwheel.artifacts import read_manifest
from driftwheel.config import Settings
from driftwheel.errors import ArtifactError, ConflictError, DriftwheelError, EngineError, GateError
from driftwheel.ledger import Ledger
from driftwheel.records import Alias, Deployment, ModelVersion, ModelVersionStatus, Stage, new_id, utc_now
from serve.engine import Engine, start_artifact
from serve.routes import EngineRoute, RoutingTable

POLL_SECONDS = 0.3
REPORT_SECONDS = 15.0
FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS = 2.0, 60.0
UNFINISHED = [Stage.LIVE, Stage.DRAINING, Stage.SHADOW, Stage.CANARY]
log = structlog.get_logger()

StartEngine = Callable[[Settings, Path, str], Engine]


class _WrongModelError(EngineError):
    """An engine answers the probes otherwise than the version did; starting it again will not change that."""


class Rollout:
    """Owns the engines; runs on the gateway's event loop, with everything slow in threads."""

    def __init__(
        self, settings: Settings, ledger: Ledger, routes: RoutingTable, start: StartEngine = start_artifact
    ) -> None:
        self._settings, self._ledger, self._routes, self._start = settings, ledger, routes, start
        self._engines: dict[str, Engine] = {}
        self._warm_until: dict[str, float] = {}
        self._live_id: str | None = None
        self._fence = 0
        self._refused_fence = 0
        self._retry_at = 0.0
        self._keep_retry_at = 0.0
        self._backoff_seconds = FIRST_BACKOFF_SECONDS
        self._drains: set[asyncio.Task[None]] = set()

    def engine_of(self, version_id: str) -> Engine | None:
        """Return a version's engine, running or dead."""
        return self._engines.get(version_id)

    async def run(self) -> None:
        """Reconcile until cancelled; whatever goes wrong is logged, and tried again later."""
        await asyncio.to_thread(self._retire_leftovers)
        while True:
            try:
                await self.reconcile()
            except DriftwheelError as error:
                log.error("reconciling failed", error=str(error))
            await asyncio.sleep(POLL_SECONDS)

    async def reconcile(self) -> None:
        """Take one step from what is observed to what is desired."""
        alias = await asyncio.to_thread(self._read_alias)
        if alias is None:
            return
        await self._stop_expired()
        if self._live_id == alias.version_id and self._fence == alias.fence and self._is_running(alias.version_id):
            await self._report(alias)
            return
        if self._live_id is None and self._refused_fence == 0 and _was_refused(alias):
            # An earlier gateway refused this version: users get the last good one first, then it is tried again.
            self._refused_fence, self._retry_at = alias.fence, time.monotonic() + FIRST_BACKOFF_SECONDS
        if alias.fence == self._refused_fence and time.monotonic() < self._retry_at:
            await self._keep_serving(alias)
        else:
            await self._follow(alias)

    async def stop(self) -> None:
        """Stop every engine."""
        for task in self._drains:
            task.cancel()
        await asyncio.gather(*(asyncio.to_thread(engine.stop) for engine in self._engines.values()))
        await asyncio.to_thread(self._retire_leftovers)

    async def _follow(self, alias: Alias) -> None:
        """Make the desired version live, or refuse it and say why on the alias row."""
        try:
            engine = await self._proved_engine(alias.version_id)
        except DriftwheelError as error:
            await self._refuse(alias, error)
            return
        current = await asyncio.to_thread(self._ledger.get, Alias, alias.id)
        if current.fence != alias.fence and alias.version_id != self._live_id:
            # Someone moved the alias while the engine started; the next look follows, this engine stays warm.
            self._warm_until[alias.version_id] = time.monotonic() + self._settings.serve.keep_warm_seconds
            return
        self._flip(alias.id, alias.version_id, engine)
        self._fence, self._refused_fence, self._backoff_seconds = alias.fence, 0, FIRST_BACKOFF_SECONDS
        await asyncio.to_thread(self._record_live, alias, alias.version_id, None)
        log.info("alias flipped", alias=alias.id, version=alias.version_id, fence=alias.fence)

    async def _keep_serving(self, alias: Alias) -> None:
        """While the desired version is refused, keep the last good one up: the live or else the observed one."""
        version_id = self._live_id or alias.observed_version_id
        if version_id is None or version_id == alias.version_id or time.monotonic() < self._keep_retry_at:
            return
        if version_id == self._live_id and self._is_running(version_id):
            return
        try:
            engine = await self._proved_engine(version_id)
        except DriftwheelError as error:
            log.error("the last good version does not start", version=version_id, error=str(error))
            self._keep_retry_at = time.monotonic() + LONGEST_BACKOFF_SECONDS
            return
        self._flip(alias.id, version_id, engine)
        await asyncio.to_thread(self._record_live, alias, version_id, alias.observed_error)
        log.info("last good version serves", alias=alias.id, version=version_id, refused=alias.version_id)

    def _is_running(self, version_id: str) -> bool:
        engine = self._engines.get(version_id)
        return engine is not None and engine.is_running

    async def _proved_engine(self, version_id: str) -> Engine:
        version = await asyncio.to_thread(self._ledger.get, ModelVersion, version_id)
        if version.status is not ModelVersionStatus.PUBLISHED:
            raise GateError(f"{version.id} is {version.status}, not published")
        engine = await self._warm_engine(version)
        await self._prove(version, engine)
        return engine

    async def _report(self, alias: Alias) -> None:
        """Say now and then that the desired version is still the one that serves."""
        age = (utc_now() - alias.observed_at).total_seconds() if alias.observed_at else REPORT_SECONDS
        if abs(age) >= REPORT_SECONDS:
            await asyncio.to_thread(
                self._ledger.observe_alias, alias.id, version_id=alias.version_id, fence=alias.fence
            )

    def _read_alias(self) -> Alias | None:
        found = self._ledger.find(Alias, id=self._settings.serve.alias, project=self._settings.project)
        return found[0] if found else None

    def _flip(self, alias_id: str, version_id: str, engine: Engine) -> None:
        """Point the alias at a proved engine; from the next request on it answers."""
        if self._routes.get(version_id) is None:
            self._routes.add(self._route(version_id, engine))
        self._routes.point(alias_id, version_id)
        old_id, self._live_id = self._live_id, version_id
        self._warm_until.pop(version_id, None)
        if old_id is not None and old_id != version_id:
            task = asyncio.create_task(self._drain(old_id))
            self._drains.add(task)
            task.add_done_callback(self._drains.discard)

    def _route(self, version_id: str, engine: Engine) -> EngineRoute:
        return EngineRoute(version_id, "127.0.0.1", engine.port, engine.name, last_token_at=time.monotonic())

    async def _warm_engine(self, version: ModelVersion) -> Engine:
        engine = self._engines.get(version.id)
        if engine is not None and engine.is_running:
            return engine
        if engine is not None:
            log.error("engine died", version=version.id, last_words=engine.last_words(), log=str(engine.log_path))
            await self._forget(version.id)
        folder = Path(version.path)
        if read_manifest(folder)["content_hash"] != version.manifest_hash:
            raise ArtifactError(f"{folder} holds another artifact than {version.id} was judged on; publish it again")
        for other in [v for v in self._engines if v != self._live_id]:
            # Two engines at most: the live one and the one that starts. An older one may still have requests.
            await self._routes.wait_idle(other, self._settings.serve.drain_timeout_seconds)
            await self._retire(other)
        log.info("starting engine", version=version.id)
        engine = await asyncio.to_thread(self._start, self._settings, folder, version.id)
        self._engines[version.id] = engine
        await asyncio.to_thread(engine.wait_ready, self._settings.serve.start_timeout_seconds)
        log.info("engine ready", version=version.id, seconds=round(engine.start_seconds, 1))
        return engine

    async def _prove(self, version: ModelVersion, engine: Engine) -> None:
        """Raise EngineError unless the engine answers the probe prompts as the published artifact did."""
        probes = [probe["messages"] for probe in version.fingerprint.get("probes", [])]
        if not probes:
            raise EngineError(f"{version.id} has no fingerprint to compare with; publish it again")
        taken = await asyncio.to_thread(fingerprint.take, engine.url, engine.name, probes)
        difference = fingerprint.compare(version.fingerprint, taken)
        gap, tolerance = difference.mean_logprob_difference, self._settings.serve.fingerprint_tolerance
        if not difference.is_same_prompt:
            raise _WrongModelError(
                f"the engine for {version.id} reads the probe prompts as other tokens than the published one did: "
                "check serve.engine_args for another chat template or tokenizer, or promote another version"
            )
        if not difference.is_same(tolerance):
            raise _WrongModelError(
                f"the engine for {version.id} is not the model that was judged: log-probabilities differ by {gap:.3g} "
                f"nats (allowed {tolerance}), {difference.token_agreement:.0%} of probe tokens agree; "
                "promote another version, or build this one again"
            )
        log.info("fingerprint proved", version=version.id, gap=round(gap, 5), agreement=difference.token_agreement)

    async def _refuse(self, alias: Alias, error: DriftwheelError) -> None:
        log.error("swap refused", version=alias.version_id, fence=alias.fence, error=str(error))
        if alias.version_id != self._live_id:
            await self._retire(alias.version_id)
        if alias.fence != self._refused_fence:
            self._refused_fence, self._backoff_seconds = alias.fence, FIRST_BACKOFF_SECONDS
        # A wrong model is not tried again at this fence while another version serves: each try costs a start.
        is_final = isinstance(error, _WrongModelError) and self._live_id not in (None, alias.version_id)
        self._retry_at = math.inf if is_final else time.monotonic() + self._backoff_seconds
        self._backoff_seconds = min(2 * self._backoff_seconds, LONGEST_BACKOFF_SECONDS)
        await asyncio.to_thread(
            self._ledger.observe_alias, alias.id, version_id=self._live_id, fence=alias.fence, error=str(error)
        )

    async def _drain(self, version_id: str) -> None:
        await asyncio.to_thread(self._restage, version_id, Stage.LIVE, Stage.DRAINING)
        is_idle = await self._routes.wait_idle(version_id, self._settings.serve.drain_timeout_seconds)
        if not is_idle:
            log.error("old engine still had requests after the drain timeout", version=version_id)
        if version_id == self._live_id:
            return  # rolled back meanwhile
        await asyncio.to_thread(self._restage, version_id, Stage.DRAINING, Stage.SHADOW)
        self._warm_until[version_id] = time.monotonic() + self._settings.serve.keep_warm_seconds

    async def _stop_expired(self) -> None:
        for version_id in [v for v, until in self._warm_until.items() if time.monotonic() > until]:
            await self._retire(version_id)

    async def _retire(self, version_id: str) -> None:
        await self._forget(version_id)
        for stage in UNFINISHED:
            await asyncio.to_thread(self._restage, version_id, stage, Stage.RETIRED)

    async def _forget(self, version_id: str) -> None:
        self._routes.remove(version_id)
        self._warm_until.pop(version_id, None)
        engine = self._engines.pop(version_id, None)
        if engine is not None:
            await asyncio.to_thread(engine.stop)

    def _record_live(self, alias: Alias, version_id: str, error: str | None) -> None:
        at = utc_now()
        self._ledger.observe_alias(alias.id, version_id=version_id, fence=alias.fence, error=error)
        for stage in (Stage.LIVE, Stage.DRAINING, Stage.SHADOW):
            self._restage(version_id, stage, Stage.RETIRED)
        self._ledger.add(
            Deployment(
                id=new_id("deployment", [alias.id, version_id, alias.fence, at], at),
                project=alias.project,
                created_at=at,
                alias=alias.id,
                version_id=version_id,
                stage=Stage.LIVE,
                share=1.0,
                fence=alias.fence,
                reason=f"alias row at fence {alias.fence}",
            )
        )

    def _restage(self, version_id: str, old: Stage, new: Stage) -> None:
        for row in self._ledger.find(
            Deployment, project=self._settings.project, version_id=version_id, stage=old.value
        ):
            try:
                self._ledger.change(row, stage=new, share=0.0)
            except ConflictError as error:
                log.info("deployment changed meanwhile", deployment=row.id, error=str(error))

    def _retire_leftovers(self) -> None:
        """Retire what an earlier gateway left; its engines died with it."""
        for row in self._ledger.find(
            Deployment, project=self._settings.project, alias=self._settings.serve.alias, stage=UNFINISHED
        ):
            self._ledger.change(row, stage=Stage.RETIRED, share=0.0, reason=f"{row.reason}; gateway ended")


def _was_refused(alias: Alias) -> bool:
    return (
        alias.observed_error is not None
        and alias.observed_fence == alias.fence
        and alias.observed_version_id not in (None, alias.version_id)
    )
