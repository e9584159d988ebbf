"""Every engine is asked for a real token again and again; one that gives none gets no user's request.

An engine that died is noticed at once; one that hangs is taken out after two missed tokens and stopped after four,
and the rollout starts it anew. An engine that is only busy answers users meanwhile, and that counts.
"""

import asyncio
import time
from collections.abc import Callable

import structlog

from driftwheel.config import Settings
from serve.engine import Engine, answers_token
from serve.routes import EngineRoute, RoutingTable

MISSED_UNTIL_OUT, MISSED_UNTIL_STOPPED = 2, 4
TOKEN_TIMEOUT_SECONDS = 10.0
HANGING_GRACE_SECONDS = 1.0
log = structlog.get_logger()


class Health:
    """Watches the engines of a routing table."""

    def __init__(
        self,
        settings: Settings,
        routes: RoutingTable,
        engine_of: Callable[[str], Engine | None],
        token_timeout_seconds: float = TOKEN_TIMEOUT_SECONDS,
    ) -> None:
        self._interval_seconds = settings.serve.health_interval_seconds
        self._routes, self._engine_of = routes, engine_of
        self._token_timeout_seconds = token_timeout_seconds

    async def run(self) -> None:
        """Check every engine, each interval, until cancelled."""
        while True:
            await asyncio.gather(*(self.check(route.version_id) for route in self._routes.routes()))
            await asyncio.sleep(self._interval_seconds)

    async def check(self, version_id: str) -> bool:
        """Ask one engine for a token; take it out of or back into the routing table, and say whether it answered."""
        route, engine = self._routes.get(version_id), self._engine_of(version_id)
        if route is None or engine is None:
            return False
        if engine.is_running and await self._gives_tokens(route):
            if not route.is_ready:
                log.info("engine answers again", version=version_id)
            route.is_ready, route.failures = True, 0
            return True
        route.failures += 1
        if route.is_ready and (not engine.is_running or route.failures >= MISSED_UNTIL_OUT):
            route.is_ready = False
            log.error("engine gives no token; requests get 503", version=version_id, missed=route.failures)
        if engine.is_running and route.failures >= MISSED_UNTIL_STOPPED:
            log.error("engine hangs; stopping it", version=version_id, log=str(engine.log_path))
            await asyncio.to_thread(engine.stop, HANGING_GRACE_SECONDS)
        return False

    async def _gives_tokens(self, route: EngineRoute) -> bool:
        """Say whether a token came, to this check or to a user while it waited in the engine's queue."""
        asked_at = time.monotonic()
        if await asyncio.to_thread(answers_token, route.port, route.model, self._token_timeout_seconds):
            route.last_token_at = time.monotonic()
            return True
        return route.last_token_at is not None and route.last_token_at > asked_at
