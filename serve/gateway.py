"""The gateway: a reverse proxy in front of the engines, with an allow-list, API keys, routing and durable rows.

`python -m serve gateway --config driftwheel.yaml` runs it together with the engines and the reconciler.
"""

import asyncio
import socket
import time
from collections.abc import Callable

from driftwheel.errors import ConflictError
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.log import TrafficLog
from serve.access.allow_list import ROUTES, Openness, template_of
from serve.access.backpressure import Backpressure
from serve.access.key_ring import ApiKeys
from serve.access.rate_limit import RateLimit, held_to
from serve.access.startup import check_exposure, make_room_for_sockets
from serve.admission import Admission
from serve.endpoints import JSON_TYPE, Endpoints
from serve.http.http1 import SWEEP_SECONDS, Handler, ServerConnection
from serve.http.messages import NO_CONTENT, Request, Response
from serve.http.request_ids import RequestIds
from serve.metrics import OTHER_ROUTE, GatewayMetrics
from serve.refusals import STALLED_SECONDS, RequestRefused, no_model
from serve.relaying.call import Call, read_call, trace_headers
from serve.relaying.job import Job, Trace
from serve.relaying.relay import RETRY_AFTER_SECONDS, Failover, Relay
from serve.relaying.tracing import Tracing
from serve.relaying.unwatched import WATCH, Unwatched
from serve.routing.choice import unit_of
from serve.routing.table import EngineRoute, RoutingTable

NO_VERSION = "none"
METRICS_PATH = "/metrics"
ABORT_SECONDS = 5.0
"""How long aborted connections may take to close before the gateway ends all the same."""
STOP_POLL_SECONDS = 0.02
BACKLOG = 4096
"""Connections that wait to be accepted; with asyncio's 100 a burst of clients waits for a retransmission, a second."""
HELD_BODIES = 16
"""Largest bodies that are held at once, received or waiting for their answer."""
SEND_BUFFER_BYTES = 16_384
"""What the system keeps for a client that does not read, twice over; what was sent is also held here for its row."""


class Gateway:
    """The HTTP server in front of the engines; one event loop runs all of it."""

    def __init__(
        self,
        settings: Settings,
        traffic_log: TrafficLog,
        ledger: Ledger,
        routes: RoutingTable,
        metrics: GatewayMetrics,
        keys: ApiKeys,
    ) -> None:
        self.routes = routes
        self.metrics = metrics
        self._settings = settings
        self._keys = keys
        self._admission = Admission(settings.serve, keys)
        self._ids = RequestIds()
        self._unwatched = Unwatched(settings.traffic.unwatched)
        serve = settings.serve
        self.backpressure = Backpressure(
            max_body_bytes=serve.max_body_bytes,
            max_held_bytes=HELD_BODIES * serve.max_body_bytes,
            max_connections=serve.max_connections,
            max_in_flight=serve.max_num_seqs + serve.max_waiting,
        )
        self._relay = Relay(settings.serve, settings.project, traffic_log, metrics)
        self._endpoints = Endpoints(settings, ledger, routes, metrics, lambda: traffic_log.stalled_seconds)
        self._traffic_log = traffic_log
        self._connections: set[ServerConnection] = set()
        self.on_answered: Callable[[Job], None] = lambda job: None
        """Is told of each answered completion; must be quick."""
        self.tracing: Tracing | None = None
        """Makes spans of the requests for engines, if it is there."""
        self._active = 0
        metrics.in_flight.set_function(lambda: self._active)
        self._servers: list[asyncio.Server] = []
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> asyncio.Server:
        """Listen; port 0 takes a free one.

        Raises ConfigError if other machines could ask without a key, ConflictError if the port is taken.
        """
        check_exposure(self._settings.serve, host, self._keys)
        make_room_for_sockets(self._settings.serve.max_connections)
        server = await self._listen(host, port, self.handle)
        if shared_port := self._settings.serve.shared_port:
            await self._listen(host, shared_port, self._handle_shared, is_shared=True)
        self._sweeper = asyncio.create_task(self._sweep())
        return server

    async def _listen(self, host: str, port: int, handle: Handler, *, is_shared: bool = False) -> asyncio.Server:
        try:
            server = await asyncio.get_running_loop().create_server(
                lambda: ServerConnection(handle, self._admission.decide, self.backpressure, self._connections),
                host,
                port,
                backlog=BACKLOG,
                reuse_port=is_shared,
            )
        except OSError as error:
            name = "serve.shared_port" if is_shared else "serve.port"
            raise ConflictError(f"cannot listen on {host}:{port}: {error}; stop what does, or set {name}") from error
        for listener in server.sockets:  # the sockets of its connections get the same
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._servers.append(server)
        return server

    async def _handle_shared(self, request: Request, response: Response) -> None:
        """Answer one request that came by the port of several gateways, but none about this one alone."""
        if request.path == METRICS_PATH:
            # Counts of a gateway here and another there would look like counters that are set back.
            request.refusal = RequestRefused(
                404,
                "this port is shared by several gateways: ask each one's own serve.port for its metrics",
                "not_found",
            )
        await self.handle(request, response)

    async def stop(self, grace_seconds: float) -> None:
        """Take no new request, let the running ones finish for a while, then cut them off."""
        for server in self._servers:
            server.close()
        for connection in [*self._connections]:
            # Copies of the set are walked: a connection that closes takes itself out of it.
            connection.close_when_idle()
        await self._wait_until_quiet(grace_seconds)
        for connection in [*self._connections]:
            connection.abort()
        await self._wait_until_quiet(ABORT_SECONDS)
        self._relay.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        # A closed transport lets go of its socket in the loop's next turn.
        await asyncio.sleep(STOP_POLL_SECONDS)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = asyncio.get_running_loop().time()
            for connection in [*self._connections]:
                connection.sweep(now)

    async def handle(self, request: Request, response: Response) -> None:
        """Answer one request, with its id and the version on every answer."""
        request_id = self._ids.make()
        template = template_of(request.path)
        self._active += 1
        job: Job | None = None
        trace: Trace | None = None
        status = 500
        try:
            if request.refusal is not None:
                raise request.refusal
            if request.method == "OPTIONS":
                status = NO_CONTENT.value
                response.send(status, [("x-request-id", request_id)], b"")
            elif template is not None and ROUTES[template].is_answered_by_engine:
                # Before the body is read, so that a body which is refused has its span, too.
                trace = self.tracing.begin(request) if self.tracing is not None else None
                call = read_call(request.body, request.path)
                if self.routes.opening is not None:
                    await self.routes.opening.wait()
                route = self._route(call, request_id, request.caller.id)
                # Chosen now: by the time the first engine fails the alias may mean another version.
                second = self.routes.other(call.model, route)
                job = Job(request_id, request.path, call, route, request.caller, second, trace=trace)
                if self._unwatched.has_rules or WATCH in request.headers:
                    job.is_watched = not self._unwatched.covers(request.headers, call)
                    self.metrics.unwatched.inc(not job.is_watched)
                if trace is None and b"traceparent" in request.headers:
                    job.trace_headers = trace_headers(request.headers)
                status = await self._ask(job, response)
                if status == 200:  # a shadow must not be asked what was refused, by whomever
                    self.on_answered(job)
            else:
                limit = None if template is None else self._limit_of(request, template)
                with held_to(limit) as limits:
                    status, content_type, body = await self._endpoints.answer(request)
                response.send(status, [*self._headers(request_id, content_type, None), *limits()], body)
        except RequestRefused as refusal:
            status = refusal.status
            answered_id, by = (job.request_id, job.route) if job else (request_id, None)
            headers = [*self._headers(answered_id, JSON_TYPE, by), *refusal.headers]
            response.send(status, headers, refusal.body())
        finally:
            self._active -= 1
            if trace is not None:
                trace.end(job.request_id if job else request_id, job.route.version_id if job else NO_VERSION, status)
            # Here, because a bug leaves this method too, and the connection answers it with the 500 that is counted.
            route_name = template if template is not None else OTHER_ROUTE
            self.metrics.count_request(route_name, job.route.version_id if job else NO_VERSION, status)

    @staticmethod
    def _limit_of(request: Request, template: str) -> RateLimit | None:
        """Return what limits a request that no engine answers; a probe's is never refused."""
        return None if ROUTES[template].openness is Openness.ANYBODY else request.caller.rate_limit

    async def _ask(self, job: Job, response: Response) -> int:
        rate_limit = job.caller.rate_limit
        if self._settings.serve.log == "required" and self._traffic_log.stalled_seconds > STALLED_SECONDS:
            # At once: its row could not be written either, and its client would wait a minute to be told so.
            message = "rows wait for the ledger, and no answer is given that is not written down; try again"
            raise RequestRefused(503, message, "ledger_unavailable", headers=(("retry-after", "1"),))
        # Load before rate: a request that finds no place must not use up its key's minute.
        self.backpressure.enter(job.route, job.caller.id)
        try:
            if rate_limit is None:
                return await self._answer(job, response)
            rate_limit.enter(time.monotonic())
            try:
                return await self._answer(job, response)
            finally:
                rate_limit.leave(job.used_tokens, time.monotonic())
        finally:
            self.backpressure.leave(job.caller.id)

    async def _answer(self, job: Job, response: Response) -> int:
        try:
            return await self._relay.answer(job, response)
        except Failover as failover:
            # The failed try is in the log under its own id; the client gets the second one's.
            job.start_over(self._ids.make(), failover.route)
            return await self._relay.answer(job, response)

    def _headers(self, request_id: str, content_type: str, route: EngineRoute | None) -> list[tuple[str, str]]:
        version = route.version_id if route else self.routes.aliases.get(self._settings.serve.alias, NO_VERSION)
        return [("content-type", content_type), ("x-request-id", request_id), ("x-driftwheel-version", version)]

    def _route(self, call: Call, request_id: str, key_id: str) -> EngineRoute:
        """Return the engine for a request; raises RequestRefused."""
        model, sticky_by = call.model, self._settings.serve.sticky_by
        unit = unit_of(sticky_by, request_id=request_id, key_id=key_id, user_id=call.user_id)
        route = self.routes.pick(model, unit, call.prefix)
        if route is not None:
            return route
        # The alias of the settings is known before its first engine is: clients are to come back, not to give up.
        if self.routes.knows(model) or model == self._settings.serve.alias:
            message = f"no engine is ready for model {model!r}; try again soon"
            headers = (("retry-after", str(RETRY_AFTER_SECONDS)),)
            raise RequestRefused(503, message, "no_engine", param="model", headers=headers)
        raise no_model(model, self.routes.served_models())

    async def _wait_until_quiet(self, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while (self._active > 0 or self._connections) and time.monotonic() < deadline:
            await asyncio.sleep(STOP_POLL_SECONDS)
