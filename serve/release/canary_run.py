"""A canary release: raises a version's share of the requests step by step, or rolls it back within seconds."""

import asyncio
import time

import structlog

from driftwheel.errors import EngineError
from driftwheel.records.nouns import Alias, DeploymentStage
from driftwheel.settings.serving import ServeSettings
from serve.release.canary_counts import CanaryCounts
from serve.release.canary_rule import Action, decide
from serve.release.deployments import Deployments
from serve.routing.choice import Split
from serve.routing.table import RoutingTable

ROLLED_BACK = "canary rolled back:"
WAITS = "canary waits for a person:"
log = structlog.get_logger()


class CanaryFailedError(EngineError):
    """A canary does worse than the live version; a person or a new version must come first."""


class CanaryRun:
    """One canary release, from its first share to its verdict."""

    def __init__(
        self,
        serve: ServeSettings,
        counts: CanaryCounts,
        routes: RoutingTable,
        deployments: Deployments,
        alias: Alias,
        shares: list[float],
    ) -> None:
        self.alias, self.version_id = alias, alias.version_id
        self._serve, self._counts, self._routes, self._deployments = serve, counts, routes, deployments
        # A copy: shares that are done are taken off it.
        self._shares = list(shares)
        self._began_at = 0.0
        self._has_asked = False

    async def begin(self) -> None:
        """Let the first share of the requests through."""
        reason = f"canary at fence {self.alias.fence}"
        await asyncio.to_thread(
            self._deployments.open, self.alias, self.version_id, DeploymentStage.CANARY, self._shares[0], reason
        )
        self._take_share()

    async def is_over(self) -> bool:
        """Look at what was answered and say whether the canary may go live; raises CanaryFailedError."""
        if not any(route.is_ready for route in self._routes.replicas(self.version_id)):
            raise CanaryFailedError("its engine gives no token")
        tally, serve = await asyncio.to_thread(self._counts.read), self._serve
        verdict = decide(
            tally.periods,
            seconds=time.monotonic() - self._began_at,
            false_rollback=serve.canary_false_rollback,
            min_requests=serve.canary_min_requests,
            min_seconds=serve.canary_seconds,
        )
        if verdict.action is Action.ROLL_BACK:
            raise CanaryFailedError(verdict.reason)
        if verdict.action is Action.ASK:
            await self._ask(verdict.reason)
        if verdict.action in (Action.WAIT, Action.ASK):
            return False
        log.info("canary passed", version=self.version_id, share=self._shares[0], reason=verdict.reason)
        self._shares.pop(0)
        if not self._shares:
            return True
        # The row first: followers read the share from it, and should not be far behind.
        await asyncio.to_thread(self._deployments.share_out, self.version_id, self._shares[0])
        self._take_share()
        return False

    async def _ask(self, reason: str) -> None:
        """Say once that a person must decide; the canary keeps its share, and goes no further."""
        if not self._has_asked:
            self._has_asked = True
            text = (
                f"{WAITS} {reason}. `driftwheel rollback` takes it back; `driftwheel promote` after it lets it go live"
            )
            await asyncio.to_thread(self._deployments.explain, self.version_id, text)
            log.warning("canary waits for a person", version=self.version_id, reason=reason)

    def _take_share(self) -> None:
        self._began_at = time.monotonic()
        self._counts.begin(self._shares[0])
        self._routes.splits[self.alias.name] = Split(self.version_id, self._shares[0])
        log.info("canary begins", version=self.version_id, share=self._shares[0])
