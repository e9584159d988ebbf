"""A follower: a gateway beside the leader, with the candidate's engines ready and the same share of requests."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog

from driftwheel.backoff import Backoff
from driftwheel.errors import DriftwheelError
from driftwheel.records.nouns import Alias
from driftwheel.store.ledger import Ledger
from serve.engines.fleet import Fleet
from serve.release.deployments import Deployments
from serve.routing.choice import Split
from serve.routing.table import RoutingTable

log = structlog.get_logger()


def followed(alias: Alias) -> Alias | None:
    """Return what a gateway that follows takes for desired: what the leader reports as served."""
    if alias.observed_version_id is None:
        return None
    return replace(alias, version_id=alias.observed_version_id, fence=alias.observed_fence, observed_error=None)


class Follower:
    """What a gateway does that does not lead, once it serves what the leader serves."""

    def __init__(
        self,
        ledger: Ledger,
        routes: RoutingTable,
        fleet: Fleet,
        deployments: Deployments,
        prove: Callable[[str], Awaitable[None]],
        keep_warm: Callable[[str], None],
    ) -> None:
        self._ledger, self._routes, self._fleet, self._deployments = ledger, routes, fleet, deployments
        self._prove, self._keep_warm = prove, keep_warm
        self._failures = Backoff()

    async def step(self, seen: Alias) -> None:
        """Take one look at what the leader is about to do."""
        alias = await asyncio.to_thread(self._ledger.get, Alias, seen.id)
        is_pending = alias.observed_fence < alias.fence and alias.version_id != alias.observed_version_id
        if not is_pending or not await self._is_ready(alias.version_id, str(alias.observed_version_id)):
            self._routes.splits.pop(alias.name, None)
            return
        # Read from the rows and not from settings: two gateways may run with other files, and users must see one share.
        share = await asyncio.to_thread(self._deployments.canary_share, alias)
        if share > 0:
            self._fleet.admit(alias.version_id)
            self._routes.splits[alias.name] = Split(alias.version_id, share)
        else:
            self._routes.splits.pop(alias.name, None)

    async def _is_ready(self, version_id: str, live_id: str) -> bool:
        """Have a candidate's engines proved; what does not start here may still go live, and is tried again then."""
        if not self._fleet.is_running(version_id):
            if self._fleet.is_only_engine(live_id) or not self._failures.is_due(time.monotonic()):
                return False
            try:
                await self._prove(version_id)
            except DriftwheelError as error:
                log.error("the candidate does not start here", version=version_id, error=str(error))
                self._failures.note(time.monotonic())
                return False
        self._keep_warm(version_id)
        return True
