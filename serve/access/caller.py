"""The caller of a request: its key, scopes and rate limit."""

from dataclasses import dataclass

from driftwheel.records import Scope
from serve.access.rate_limit import RateLimit


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and what for."""

    id: str
    scopes: frozenset[Scope]
    rate_limit: RateLimit | None = None


ANONYMOUS = Caller("", frozenset(Scope))
"""Who asks without a key where none is required."""


NOBODY = Caller("", frozenset())
"""Who asks without a key from afar: a probe."""
