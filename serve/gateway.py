"""Requests of clients become answers of engines: allow-listed routes, keys, the alias' version, durable rows.

`python -m serve gateway --config driftwheel.yaml` runs it together with the engines and the rollout.
"""

import asyncio
import json
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from driftwheel.errors import ConflictError, NotFoundError, StorageError
from driftwheel.records import Scope
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.log import TrafficLog
from serve import alerts, hooks, openapi
from serve.access.backpressure import Load
from serve.access.key_ring import ApiKeys
from serve.access.startup import check_exposure, make_room_for_sockets
from serve.admission import Admission
from serve.http.http1 import SWEEP_SECONDS, ServerConnection
from serve.http.messages import Request, Response
from serve.http.request_ids import RequestIds
from serve.metrics import CONTENT_TYPE, OTHER_ROUTE, GatewayMetrics
from serve.refusals import RequestRefused
from serve.relaying.call import Call, read_call, trace_headers
from serve.relaying.job import Job
from serve.relaying.relay import RETRY_AFTER_SECONDS, Relay, SecondChance
from serve.routing.choice import unit_of
from serve.routing.routes import ROUTES, EngineRoute, RoutingTable

if TYPE_CHECKING:
    from serve.relaying.tracing import RequestTrace, Tracing

READY_INTERVALS = 3
NO_VERSION = "none"
ABORT_SECONDS = 5.0
STOP_POLL_SECONDS = 0.02
BACKLOG = 4096
HELD_BODIES = 16
"""Largest bodies that are held at once, received or waiting for their answer."""
SEND_BUFFER_BYTES = 16_384
"""What the system keeps for a client that does not read, twice over; what was sent is also held here for its row."""
JSON_TYPE = "application/json"


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
        self._ledger = ledger
        self._keys = keys
        self._admission = Admission(settings.serve, keys)
        self._ids = RequestIds()
        serve = settings.serve
        self.load = Load(
            max_body_bytes=serve.max_body_bytes,
            max_held_bytes=HELD_BODIES * serve.max_body_bytes,
            max_connections=serve.max_connections,
            max_in_flight=serve.max_num_seqs + serve.max_waiting,
        )
        self._relay = Relay(settings, traffic_log, metrics)
        self._connections: set[ServerConnection] = set()
        self.on_answered: Callable[[Job], None] = lambda job: None
        """Is told of each answered completion; must be quick."""
        self.tracing: Tracing | None = None
        """Makes spans of the requests for engines, if it is there."""
        self._active = 0
        self._alerts = asyncio.Lock()
        self._started_at = int(time.time())
        metrics.in_flight.set_function(lambda: self._active)
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._operator_routes: dict[str, Callable[[Request], tuple[int, str, bytes]]] = {
            "/healthz": self._health,
            "/readyz": self._readiness,
            "/metrics": self._metrics_page,
            "/metrics/engines": self._engine_targets,
            "/v1/models": self._models,
            "/openapi.json": lambda _: (200, JSON_TYPE, openapi.document()),
        }

    async def start(self, host: str, port: int) -> asyncio.Server:
        """Listen; port 0 takes a free one.

        Raises ConfigError if other machines could ask without a key, ConflictError if the port is taken.
        """
        check_exposure(self._settings.serve, host, self._keys)
        make_room_for_sockets(self._settings.serve.max_connections)
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: ServerConnection(self.handle, self._admission.decide, self.load, self._connections),
                host,
                port,
                backlog=BACKLOG,
            )
        except OSError as error:
            raise ConflictError(
                f"cannot listen on {host}:{port}: {error}; stop what does, or set serve.port"
            ) from error
        self._sweeper = asyncio.create_task(self._sweep())
        for listener in self._server.sockets:  # the sockets of its connections get the same
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        return self._server

    async def stop(self, grace_seconds: float) -> None:
        """Take no new request, let the running ones finish for a while, then cut them off."""
        if self._server is not None:
            self._server.close()
        for connection in [*self._connections]:
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
        found = ROUTES.get(request.path)
        self._active += 1
        job: Job | None = None
        trace: RequestTrace | None = None
        status = 500
        try:
            if request.refusal is not None:
                raise request.refusal
            if found is not None and found.is_answered_by_engine:
                trace = self.tracing.begin(request) if self.tracing is not None else None
                call = read_call(request.body, request.path)
                if self.routes.opening is not None:
                    await self.routes.opening.wait()
                route = self._route(call, request_id, request.caller.id)
                second = self.routes.other(call.model, route)
                job = Job(request_id, request.path, call, route, request.caller, second, trace=trace)
                if trace is None and b"traceparent" in request.headers:
                    job.trace_headers = trace_headers(request.headers)
                status = await self._ask(job, response)
                self.on_answered(job)
            else:
                status, content_type, body = await self._operate(request)
                response.send(status, self._headers(request_id, content_type, None), body)
        except RequestRefused as refusal:
            status = refusal.status
            answered_id, by = (job.request_id, job.route) if job else (request_id, None)
            headers = [*self._headers(answered_id, JSON_TYPE, by), *refusal.headers]
            response.send(status, headers, refusal.body())
        finally:
            self._active -= 1
            if trace is not None:
                trace.end(job.request_id if job else request_id, job.route.version_id if job else NO_VERSION, status)
        route_name = request.path if found is not None else OTHER_ROUTE
        self.metrics.count_request(route_name, job.route.version_id if job else NO_VERSION, status)

    async def _ask(self, job: Job, response: Response) -> int:
        limits = job.caller.limits
        self.load.enter(job.route, job.caller.id)
        try:
            if limits is None:
                return await self._answer(job, response)
            limits.enter(time.monotonic())
            try:
                return await self._answer(job, response)
            finally:
                limits.leave(job.used_tokens, time.monotonic())
        finally:
            self.load.leave(job.caller.id)

    async def _answer(self, job: Job, response: Response) -> int:
        try:
            return await self._relay.answer(job, response)
        except SecondChance as chance:
            # The failed try is in the log under its own id; the client gets the second one's.
            job.start_over(self._ids.make(), chance.route)
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
        if self.routes.knows(model) or model == self._settings.serve.alias:
            message = f"no engine is ready for model {model!r}; try again soon"
            headers = (("retry-after", str(RETRY_AFTER_SECONDS)),)
            raise RequestRefused(503, message, "no_engine", param="model", headers=headers)
        names = ", ".join(self.routes.served_models()) or "none yet"
        raise RequestRefused(404, f"no model {model!r}; there are: {names}", "model_not_found", param="model")

    async def _operate(self, request: Request) -> tuple[int, str, bytes]:
        if request.path in self._operator_routes:
            return self._operator_routes[request.path](request)
        answer = self._feedback if request.path == "/v1/feedback" else self._alert
        try:
            return 200, JSON_TYPE, json.dumps(await answer(request.body)).encode()
        except NotFoundError as error:
            raise RequestRefused(404, str(error), "not_found") from error
        except StorageError as error:
            headers = (("retry-after", str(RETRY_AFTER_SECONDS)),)
            raise RequestRefused(503, str(error), "ledger_unavailable", headers=headers) from error

    async def _feedback(self, body: bytes) -> dict[str, object]:
        fields = hooks.read_feedback(body)
        row = await asyncio.to_thread(hooks.store_feedback, self._ledger, self._settings, fields)
        for kind in hooks.feedback_kinds(fields):
            self.metrics.feedback.labels(kind).inc()
        return {"request_id": row.id, "thumb": row.thumb, "label": row.label, "label_source": row.label_source}

    async def _alert(self, body: bytes) -> dict[str, object]:
        fields = hooks.read_object(body)
        async with self._alerts:
            return await asyncio.to_thread(alerts.take_alerts, self._ledger, self._settings, fields)

    def _health(self, _: Request) -> tuple[int, str, bytes]:
        return 200, JSON_TYPE, b'{"status": "alive"}'

    def _readiness(self, request: Request) -> tuple[int, str, bytes]:
        alias = self._settings.serve.alias
        route = self.routes.pick(alias)
        limit = READY_INTERVALS * self._settings.serve.health_interval_seconds
        if route is None:
            reason = f"no engine is ready for alias {alias!r}"
        elif route.last_token_at is None or time.monotonic() - route.last_token_at > limit:
            reason = f"{route.version_id} has given no token in the last {limit:g} s"
        else:
            return self._probed(request, 200, {"status": "ready"}, {"version_id": route.version_id})
        return self._probed(request, 503, {"status": "not ready"}, {"reason": reason})

    @staticmethod
    def _probed(request: Request, status: int, fact: dict[str, str], detail: dict[str, str]) -> tuple[int, str, bytes]:
        """Answer a probe; the detail is for those who may read it."""
        may_read = Scope.READ in request.caller.scopes
        return status, JSON_TYPE, json.dumps(fact | (detail if may_read else {})).encode()

    def _metrics_page(self, _: Request) -> tuple[int, str, bytes]:
        self.metrics.show_aliases(self.routes.aliases)
        return 200, CONTENT_TYPE, self.metrics.page()

    def _engine_targets(self, _: Request) -> tuple[int, str, bytes]:
        """Name the engines as Prometheus' HTTP service discovery wants them, so that it scrapes vLLM's own metrics."""
        versions: dict[str, list[str]] = {}
        for route in self.routes.routes():  # adapters of one base share an engine, which is one target
            versions.setdefault(f"{route.host}:{route.port}", []).append(route.version_id)
        targets = [{"targets": [at], "labels": {"version": ",".join(found)}} for at, found in versions.items()]
        return 200, JSON_TYPE, json.dumps(targets).encode()

    def _models(self, _: Request) -> tuple[int, str, bytes]:
        facts = {"object": "model", "created": self._started_at, "owned_by": "driftwheel"}
        models = [{"id": name, **facts} for name in self.routes.served_models()]
        return 200, JSON_TYPE, json.dumps({"object": "list", "data": models}).encode()

    async def _wait_until_quiet(self, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while (self._active > 0 or self._connections) and time.monotonic() < deadline:
            await asyncio.sleep(STOP_POLL_SECONDS)
