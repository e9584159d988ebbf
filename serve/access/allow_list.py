"""The allow-list of the gateway: every path that it answers, its method, and the scope that a key needs for it."""

from dataclasses import dataclass
from enum import StrEnum

from driftwheel.records.bookkeeping import Scope


class Openness(StrEnum):
    """Who needs no key."""

    KEY = "key"  # everybody needs one
    THIS_MACHINE = "this machine"  # a scraper on the gateway's machine needs none, unless it forwards for others
    ANYBODY = "anybody"  # a probe needs none; it learns whether the gateway can answer, and no more


@dataclass(frozen=True)
class Route:
    """Who may do what on one path."""

    method: str
    scope: Scope
    """What the caller's key must be good for."""
    openness: Openness = Openness.KEY
    is_answered_by_engine: bool = False

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that it takes: HEAD wherever GET is, and OPTIONS, which asks for this list."""
        return (self.method, *(("HEAD",) if self.method == "GET" else ()), "OPTIONS")


MODELS = "/v1/models/"
ONE_MODEL = f"{MODELS}{{model}}"
"""The one route with a part that differs; a model's name may hold slashes."""
_ENGINE = Route("POST", Scope.ASK, is_answered_by_engine=True)
ROUTES: dict[str, Route] = {
    "/v1/chat/completions": _ENGINE,
    "/v1/completions": _ENGINE,
    "/v1/responses": _ENGINE,
    "/v1/embeddings": _ENGINE,
    "/v1/models": Route("GET", Scope.ASK),
    ONE_MODEL: Route("GET", Scope.ASK),
    "/v1/feedback": Route("POST", Scope.FEEDBACK),
    "/v1/hooks/alertmanager": Route("POST", Scope.OPERATE),
    "/v1/control/rollback": Route("POST", Scope.OPERATE),
    "/openapi.json": Route("GET", Scope.READ),
    "/healthz": Route("GET", Scope.READ, Openness.ANYBODY),
    "/readyz": Route("GET", Scope.READ, Openness.ANYBODY),
    "/metrics": Route("GET", Scope.READ, Openness.THIS_MACHINE),
    "/metrics/engines": Route("GET", Scope.READ, Openness.THIS_MACHINE),
}
"""Everything that the gateway answers; an engine's other routes (weights, adapters, sleep) are never reachable."""


def template_of(path: str) -> str | None:
    """Return which entry of the list a path is, or None if there is none."""
    if path in ROUTES:
        return path
    return ONE_MODEL if path.startswith(MODELS) and path != MODELS else None


def route_near(path: str) -> str | None:
    """Return the route that a wrong path was probably meant to be: without `/v1`, with it twice, or with a last `/`."""
    tidied = "/v1/" + path.strip("/").replace("//", "/").removeprefix("v1/").removeprefix("v1/")
    return next((tried for tried in (path.rstrip("/"), tidied) if tried != path and tried in ROUTES), None)
