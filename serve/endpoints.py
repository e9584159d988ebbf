"""The endpoints that the gateway answers itself: probes, metrics, service discovery, models, feedback and alerts."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from urllib.parse import unquote

from driftwheel.errors import ConflictError, DataError, DriftwheelError, NotFoundError, RecordError, StorageError
from driftwheel.records.bookkeeping import Scope
from driftwheel.records.by_whom import Cause
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.feedback import Author
from serve import alerts, feedback_route, openapi
from serve.access.allow_list import MODELS, ONE_MODEL, ROUTES, template_of
from serve.access.ledger_turns import LedgerTurns
from serve.http.messages import Request
from serve.metrics import CONTENT_TYPE, GatewayMetrics
from serve.refusals import STALLED_SECONDS, RequestRefused, no_model
from serve.relaying.relay import RETRY_AFTER_SECONDS
from serve.routing.table import RoutingTable

READY_INTERVALS = 3
"""Health checks that may be missed before the gateway calls itself not ready: one slow token is no outage."""
JSON_TYPE = "application/json"

Answer = tuple[int, str, bytes]
"""Status, content type and body."""


def refusal_of(error: DriftwheelError) -> RequestRefused:
    """Return what a client is told of an error that its request met; what no client can put right is a 5xx."""
    match error:
        case NotFoundError():
            return RequestRefused(404, str(error), "not_found")
        case ConflictError():
            return RequestRefused(409, str(error), "conflict")
        case DataError() | RecordError():
            return RequestRefused(422, str(error), "cannot_be_kept")
        case StorageError():
            headers = (("retry-after", str(RETRY_AFTER_SECONDS)),)
            return RequestRefused(503, str(error), "ledger_unavailable", headers=headers)
    return RequestRefused(500, str(error), "internal_error")


class Endpoints:
    """Answers what is not for an engine; what needs the ledger runs on a thread, never on the event loop."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        routes: RoutingTable,
        metrics: GatewayMetrics,
        stalled_seconds: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._stalled_seconds = stalled_seconds
        self._settings, self._ledger, self._routes, self._metrics = settings, ledger, routes, metrics
        self._started_at = int(time.time())
        # One after the other also because two repeats of one alert at once would both find that it has not asked yet.
        self._turns = LedgerTurns()
        self._from_memory: dict[str, Callable[[Request], Answer]] = {
            "/healthz": self._health,
            "/readyz": self._readiness,
            "/metrics": self._metrics_page,
            "/metrics/engines": self._engine_targets,
            "/v1/models": self._models,
            ONE_MODEL: self._model,
            "/v1/control/rollback": self._go_back,
            "/openapi.json": lambda _: (200, JSON_TYPE, openapi.document()),
        }
        self._from_ledger: dict[str, Callable[[Request], Awaitable[dict[str, object]]]] = {
            "/v1/feedback": self._feedback,
            "/v1/hooks/alertmanager": self._alert,
        }
        own = {path for path, route in ROUTES.items() if not route.is_answered_by_engine}
        for path in sorted(own ^ (self._from_memory.keys() | self._from_ledger.keys())):
            raise ValueError(f"{path} is on the allow-list without a handler, or has one and is not on the list")

    async def answer(self, request: Request) -> Answer:
        """Answer an admitted request; raises RequestRefused."""
        template = str(template_of(request.path))
        if template in self._from_memory:
            return self._from_memory[template](request)
        try:
            async with self._turns.turn(request.caller.id):
                return 200, JSON_TYPE, json.dumps(await self._from_ledger[template](request)).encode()
        except RequestRefused:
            raise
        except (NotFoundError, StorageError, ConflictError, DataError, RecordError) as error:
            raise refusal_of(error) from error

    async def _feedback(self, request: Request) -> dict[str, object]:
        opinion, caller = feedback_route.read_feedback(request.body), request.caller
        row = await asyncio.to_thread(
            feedback_route.store_feedback,
            self._settings.traffic,
            self._ledger,
            self._settings.project,
            opinion,
            author=Author(id=caller.id, trust=caller.trust),
            label_field=self._settings.dataset.label_field,
        )
        for kind in opinion.kinds:
            self._metrics.feedback.labels(kind).inc()
        return {"request_id": row.id, "thumb": row.thumb, "label": row.label, "label_source": row.label_source}

    async def _alert(self, request: Request) -> dict[str, object]:
        fields = feedback_route.read_object(request.body)
        policy, key = self._settings.policy, self._settings.alias_key
        by = Cause(actor=request.caller.id or "without a key")
        return asdict(
            await asyncio.to_thread(
                alerts.take_alerts, policy, self._ledger, key, fields, by=by, caps=self._settings.dataset
            )
        )

    def _go_back(self, request: Request) -> Answer:
        """Let the version before answer from now on; the reconciler writes it down as soon as the database lets it."""
        fields = feedback_route.read_object(request.body or b"{}")
        by = Cause(actor=request.caller.id or "without a key", reason=str(fields.get("reason") or ""))
        try:
            order = self._routes.go_back(by)
        except (ConflictError, NotFoundError) as error:
            raise refusal_of(error) from error
        done = {"version_id": order.version_id, "left": order.left_id, "fence": order.fence, "is_written_down": False}
        return 200, JSON_TYPE, json.dumps(done).encode()

    def _health(self, _: Request) -> Answer:
        return 200, JSON_TYPE, b'{"status": "alive"}'

    def _readiness(self, request: Request) -> Answer:
        alias = self._settings.serve.alias
        route = self._routes.pick(alias)
        limit = READY_INTERVALS * self._settings.serve.health_interval_seconds
        if route is None:
            reason = f"no engine is ready for alias {alias!r}"
        elif route.last_token_at is None or time.monotonic() - route.last_token_at > limit:
            reason = f"{route.version_id} has given no token in the last {limit:g} s"
        elif self._stalled_seconds() > STALLED_SECONDS:
            reason = f"rows have been waiting for the ledger for more than {STALLED_SECONDS:g} s"
        else:
            return self._probed(request, 200, {"status": "ready"}, {"version_id": route.version_id})
        return self._probed(request, 503, {"status": "not ready"}, {"reason": reason})

    @staticmethod
    def _probed(request: Request, status: int, fact: dict[str, str], detail: dict[str, str]) -> Answer:
        """Answer a probe; the detail is for those who may read it."""
        may_read = Scope.READ in request.caller.scopes
        return status, JSON_TYPE, json.dumps(fact | (detail if may_read else {})).encode()

    def _metrics_page(self, _: Request) -> Answer:
        # Made anew for each scrape, so that no flip can be forgotten here.
        self._metrics.show_aliases(self._routes.aliases)
        return 200, CONTENT_TYPE, self._metrics.page()

    def _engine_targets(self, _: Request) -> Answer:
        """Name the engines as Prometheus' HTTP service discovery wants them, so that it scrapes vLLM's own metrics."""
        versions: dict[str, list[str]] = {}
        for route in self._routes.routes():  # adapters of one base share an engine, which is one target
            versions.setdefault(f"{route.host}:{route.port}", []).append(route.version_id)
        targets = [{"targets": [at], "labels": {"version": ",".join(found)}} for at, found in versions.items()]
        return 200, JSON_TYPE, json.dumps(targets).encode()

    def _models(self, _: Request) -> Answer:
        models = [self._model_facts(name) for name in self._routes.served_models()]
        return 200, JSON_TYPE, json.dumps({"object": "list", "data": models}).encode()

    def _model(self, request: Request) -> Answer:
        # Clients write a slash of the name as it is or as %2F; both name the same model.
        name, served = unquote(request.path.removeprefix(MODELS)), self._routes.served_models()
        if name not in served:
            raise no_model(name, served)
        return 200, JSON_TYPE, json.dumps(self._model_facts(name)).encode()

    def _model_facts(self, name: str) -> dict[str, object]:
        return {"id": name, "object": "model", "created": self._started_at, "owned_by": "driftwheel"}
