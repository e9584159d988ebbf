"""Traffic mirroring: copies requests that the live version has answered to the shadow, and discards its answers.

A copy is made only after the client has its answer. Few are on their way at a time, and those that come meanwhile are
counted and left out, so a slow shadow takes memory from nobody; on the same machine it does take processor time.
"""

import asyncio
from dataclasses import replace

from driftwheel.errors import EngineError
from driftwheel.settings.serving import ServeSettings
from driftwheel.traffic.log import TrafficLog
from serve.http.messages import Request, Response
from serve.metrics import GatewayMetrics
from serve.refusals import RequestRefused
from serve.relaying.job import Job
from serve.relaying.relay import Relay
from serve.routing.table import RoutingTable

SHADOW_ALIAS = "@shadow"
"""Ends the alias of a shadow's rows, so that nobody takes them for traffic; no alias may hold an @."""
SHADOW_PREFIX = "shadow_"
"""Begins the id of a shadow's row; what follows is the id of the live row."""
MAX_COPIES = 8
"""At once; each holds a request and an answer in memory."""


class Nobody:
    """A connection without a client."""

    is_closed = False

    def write(self, data: bytes) -> None:
        """Throw it away."""

    def close(self) -> None:
        """Nothing is open."""

    async def drain(self) -> None:
        """Nothing is buffered."""


class Mirror:
    """Copies an alias' requests to one version."""

    def __init__(self, serve: ServeSettings, project: str, traffic_log: TrafficLog, routes: RoutingTable) -> None:
        self._alias, self._routes = serve.alias, routes
        self._relay = Relay(serve, project, traffic_log, GatewayMetrics())  # its copies are in nobody's metrics
        self._copies: set[asyncio.Task[None]] = set()
        self.version_id: str | None = None
        """The shadow, or None while nothing is copied."""
        self.left_out = 0

    def offer(self, job: Job) -> None:
        """Copy a request that has been answered, if there is a shadow and it is not busy."""
        # The row's alias, not the model's name: what nobody is to watch is not compared, either.
        if self.version_id is None or job.alias != self._alias or job.route.version_id == self.version_id:
            return
        route = self._routes.pick(self.version_id)
        if route is None or len(self._copies) >= MAX_COPIES:
            self.left_out += 1
            return
        # Under an alias of its own, so that monitor, canary and retention never take its rows for users'.
        call = replace(job.call, model=f"{self._alias}{SHADOW_ALIAS}")
        copy = Job(f"{SHADOW_PREFIX}{job.request_id}", job.path, call, route, job.caller)
        task = asyncio.create_task(self._answer(copy))
        self._copies.add(task)
        task.add_done_callback(self._copies.discard)

    async def _answer(self, copy: Job) -> None:
        try:
            await self._relay.answer(copy, Response(Nobody(), Request()))
        except (RequestRefused, EngineError):
            return  # its row says so

    async def close(self) -> None:
        """End what is on its way."""
        for task in self._copies:
            task.cancel()
        await asyncio.gather(*self._copies, return_exceptions=True)
        self._relay.close()
