"""The allow-list of the gateway: every path that it answers, its method, and the scope that a key needs for it."""

from dataclasses import dataclass
from enum import StrEnum

from driftwheel.records import Scope


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


_ENGINE = Route("POST", Scope.ASK, is_answered_by_engine=True)
ROUTES: dict[str, Route] = {
    "/v1/chat/completions": _ENGINE,
    "/v1/completions": _ENGINE,
    "/v1/responses": _ENGINE,
    "/v1/embeddings": _ENGINE,
    "/v1/models": Route("GET", Scope.ASK),
    "/v1/feedback": Route("POST", Scope.FEEDBACK),
    "/v1/hooks/alertmanager": Route("POST", Scope.OPERATE),
    "/openapi.json": Route("GET", Scope.READ),
    "/healthz": Route("GET", Scope.READ, Openness.ANYBODY),
    "/readyz": Route("GET", Scope.READ, Openness.ANYBODY),
    "/metrics": Route("GET", Scope.READ, Openness.THIS_MACHINE),
    "/metrics/engines": Route("GET", Scope.READ, Openness.THIS_MACHINE),
}
"""Everything that the gateway answers; an engine's other routes (weights, adapters, sleep) are never reachable."""
