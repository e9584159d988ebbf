"""Liveness checks: every engine is asked for a real token again and again; one that gives none gets no user's request.

An engine that misses a token is asked again at once. One that hangs is taken out after two missed tokens and stopped
after four, and the fleet starts it anew; that is 13 s at the longest with the default interval. An engine that is only
busy answers users meanwhile, or its own count of tokens grows, and that counts.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from driftwheel.settings.serving import ServeSettings
from serve.engines.liveness import answers_token, count_tokens
from serve.routing.table import EngineRoute, RoutingTable

MISSED_UNTIL_OUT, MISSED_UNTIL_STOPPED = 2, 4
"""One missed token may be a long prompt before it in the queue; two are out, and two more are no accident."""
TOKEN_TIMEOUT_SECONDS = 3.5
"""An interval of 5 s and twice this make the 13 s after which a hanging engine gets no more requests."""
LEAST_INTERVAL_SECONDS = 0.5
HANGING_GRACE_SECONDS = 1.0
"""From SIGTERM to SIGKILL of an engine that hangs: it would not use a longer one, and its users wait."""
log = structlog.get_logger()


class Stoppable(Protocol):
    """What the health loop needs of an engine."""

    @property
    def is_running(self) -> bool: ...

    def last_words(self) -> str: ...

    def stop(self, grace_seconds: float = ...) -> None: ...


class Health:
    """Watches the engines of a routing table."""

    def __init__(
        self,
        serve: ServeSettings,
        routes: RoutingTable,
        engine_of: Callable[[EngineRoute], Stoppable | None],
        token_timeout_seconds: float = TOKEN_TIMEOUT_SECONDS,
    ) -> None:
        self._interval_seconds = serve.health_interval_seconds
        self._routes, self._engine_of = routes, engine_of
        self._token_timeout_seconds = token_timeout_seconds
        self._watches: dict[EngineRoute, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Watch every engine, each in its own time so that none waits for one that hangs, until cancelled."""
        try:
            while True:
                present = self._routes.routes()
                for route in present:
                    if route not in self._watches:
                        self._watches[route] = asyncio.create_task(self._watch(route))
                # A route that was dropped and added again is another object, so a new engine never inherits failures.
                for gone in [route for route in self._watches if route not in present]:
                    self._watches.pop(gone).cancel()
                for watch in [watch for watch in self._watches.values() if watch.done()]:
                    watch.result()  # a watch ends only by an error, which ends the process
                await asyncio.sleep(LEAST_INTERVAL_SECONDS)
        finally:
            for watch in self._watches.values():
                watch.cancel()

    async def _watch(self, route: EngineRoute) -> None:
        while True:
            began_at = time.monotonic()
            is_well = await self.check(route)
            await asyncio.sleep(max(0.0, self._pause_seconds(is_well) - (time.monotonic() - began_at)))

    def _pause_seconds(self, is_well: bool) -> float:
        """Return the time between two questions' beginnings; an engine that missed one is asked again soon."""
        return self._interval_seconds if is_well else min(self._interval_seconds, LEAST_INTERVAL_SECONDS)

    async def check(self, route: EngineRoute) -> bool:
        """Ask one engine for a token; take it out of or back into the routing table, and say whether it answered."""
        engine = self._engine_of(route)
        if engine is None:
            return False
        if engine.is_running and await self._gives_tokens(route):
            if not route.is_ready:
                log.info("engine answers again", version=route.version_id, port=route.port)
            route.is_ready, route.failures = True, 0
            return True
        route.failures += 1
        if route.is_ready and (not engine.is_running or route.failures >= MISSED_UNTIL_OUT):
            route.is_ready = False
            facts = {"version": route.version_id, "port": route.port, "missed": route.failures}
            log.error("engine gives no token and gets no requests", **facts)
        if engine.is_running and route.failures == MISSED_UNTIL_STOPPED:
            log.error("engine hangs; stopping it", version=route.version_id, last_words=engine.last_words())
            await asyncio.to_thread(engine.stop, HANGING_GRACE_SECONDS)
        return False

    async def _gives_tokens(self, route: EngineRoute) -> bool:
        """Say whether a token came: to this check, to a user while it waited in the queue, or by the engine's count."""
        asked_at = time.monotonic()
        timeout_seconds = self._token_timeout_seconds
        if await asyncio.to_thread(answers_token, route.host, route.port, route.model, timeout_seconds):
            route.last_token_at = time.monotonic()
            return True
        if time.monotonic() - asked_at < timeout_seconds:
            return False  # it answered at once, and what it answered was no token
        if route.last_token_at is not None and route.last_token_at > asked_at:
            return True
        before = route.tokens_seen
        route.tokens_seen = await asyncio.to_thread(count_tokens, route.host, route.port)
        return before is not None and route.tokens_seen is not None and route.tokens_seen > before
