"""The routing table: which engines serve which version, and which version an alias means now.

The routing table is touched only on the gateway's event loop, so a flip of an alias is atomic: a request
sees the table either before or after it.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from driftwheel.errors import ConflictError, NotFoundError
from driftwheel.records.by_whom import Cause
from driftwheel.records.nouns import Alias
from serve.routing.choice import Split, least_busy
from serve.routing.going_back import RollbackOrder

IDLE_POLL_SECONDS = 0.02
"""Requests end by decrementing a number; polling it costs them nothing, where an event would cost each a wake-up."""


@dataclass(eq=False)
class EngineRoute:
    """An engine that serves one version; the replicas of a version have one each."""

    version_id: str
    host: str
    port: int
    model: str
    """The name under which vLLM serves the version."""
    in_flight: int = 0
    """Requests that wait for this engine or stream from it."""
    is_ready: bool = True
    """False while the health loop or the rollout keeps requests away from it."""
    failures: int = 0
    """Health checks that failed in a row; the health loop counts and clears it."""
    last_token_at: float | None = None
    """`time.monotonic()` of the last real token seen, by the health loop or in a user's answer."""
    system_fingerprint: str | None = None
    """What its answers are marked with, empty if nothing; None until a stream's usage event told it."""
    tokens_seen: float | None = None
    """The engine's own count of tokens when the health loop last read it."""


@dataclass(eq=False)
class RoutingTable:
    """Which engines there are, and which version each alias means."""

    aliases: dict[str, str] = field(default_factory=dict)
    splits: dict[str, Split] = field(default_factory=dict)
    """The canary of an alias, while there is one."""
    opening: asyncio.Event | None = None
    """While the only engine gets other weights: what new requests wait for."""
    seen: Alias | None = None
    """The alias' row as it was read last."""
    order: RollbackOrder | None = None
    """A way back that was ordered here, until it is written down."""
    _routes: dict[str, list[EngineRoute]] = field(default_factory=dict)

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Let new requests wait for as long as the block lasts."""
        self.opening = asyncio.Event()
        try:
            yield
        finally:
            self.opening.set()
            self.opening = None

    def add(self, route: EngineRoute) -> None:
        """Make an engine reachable under its exact version id."""
        self._routes.setdefault(route.version_id, []).append(route)

    def drop(self, route: EngineRoute) -> None:
        """Forget one engine; requests that it already has go on."""
        left = [other for other in self._routes.get(route.version_id, []) if other is not route]
        self._routes[route.version_id] = left
        if not left:
            del self._routes[route.version_id]

    def replicas(self, version_id: str) -> list[EngineRoute]:
        """Return a version's engines, ready or not."""
        return [*self._routes.get(version_id, [])]

    def routes(self) -> list[EngineRoute]:
        """Return every engine."""
        return [route for replicas in self._routes.values() for route in replicas]

    def point(self, alias: str, version_id: str) -> None:
        """Make an alias mean a version, and no canary beside it, from the next request on.

        Raises NotFoundError if the version has no engine, ConflictError while a way back to another one waits for its
        record.
        """
        if self.order is not None and self.order.version_id != version_id:
            raise ConflictError(f"somebody has just gone back to {self.order.version_id}")
        if version_id not in self._routes:
            raise NotFoundError(f"{version_id} has no engine here; start one before alias {alias!r} points at it")
        self.aliases[alias] = version_id
        # With the flip and not after it: else a share of the requests would still be dealt to what is live for all.
        self.splits.pop(alias, None)

    def go_back(self, by: Cause) -> RollbackOrder:
        """Make the alias mean the version before from the next request on, whatever the database does.

        Raises NotFoundError where there is no version before, ConflictError where its engine is not up.
        """
        if self.order is not None:
            return self.order
        row = self.seen
        if row is None or row.previous_version_id is None:
            raise NotFoundError("this alias has no earlier version to go back to")
        back_to = row.previous_version_id
        if not any(route.is_ready for route in self.replicas(back_to)):
            raise ConflictError(f"the engine of {back_to} is not up any more; `driftwheel rollback` starts it")
        self.order = RollbackOrder(fence=row.fence, left_id=row.version_id, version_id=back_to, by=by)
        self.point(row.name, back_to)
        return self.order

    def knows(self, model: str) -> bool:
        """Say whether a name is an alias or the id of a version with an engine."""
        return model in self.aliases or model in self._routes

    def pick(self, model: str, unit: str = "", prefix: str = "") -> EngineRoute | None:
        """Return the ready engine for an alias or an exact version id.

        `unit` decides who gets a canary, `prefix` which of several replicas.
        """
        # A canary without a ready engine falls through to live: nobody gets an error because of a trial.
        split = self.splits.get(model)
        if split is not None and unit and split.takes(unit):
            route = least_busy(self._routes.get(split.version_id, ()), prefix)
            if route is not None:
                return route
        return least_busy(self._routes.get(self.aliases.get(model, model), ()), prefix)

    def other(self, model: str, failed: EngineRoute) -> EngineRoute | None:
        """Return the engine that answers in place of one that failed: a live one for a canary, else a replica."""
        version_id = self.aliases.get(model, model)
        return least_busy([route for route in self._routes.get(version_id, ()) if route is not failed], "")

    def served_models(self) -> list[str]:
        """Return the names that a request may carry: aliases, then version ids."""
        return [*sorted(self.aliases), *sorted(self._routes)]

    async def wait_idle(self, version_id: str, timeout_seconds: float) -> bool:
        """Wait until a version has no request left; return whether that happened in time."""
        return await wait_idle(self.replicas(version_id), timeout_seconds)


async def wait_idle(routes: Sequence[EngineRoute], timeout_seconds: float) -> bool:
    """Wait until engines have no request left; return whether that happened in time."""
    deadline = asyncio.get_running_loop().time() + timeout_seconds
    while any(route.in_flight > 0 for route in routes):
        if asyncio.get_running_loop().time() >= deadline:
            return False
        await asyncio.sleep(IDLE_POLL_SECONDS)
    return True
