"""The caller of a request: its key, scopes and rate limit."""

from dataclasses import dataclass

from driftwheel.records.bookkeeping import Scope
from driftwheel.records.by_whom import Trust
from serve.access.rate_limit import RateLimit


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and what for."""

    id: str
    scopes: frozenset[Scope]
    rate_limit: RateLimit | None = None

    @property
    def trust(self) -> Trust:
        """How far the caller's feedback is trusted."""
        if Scope.LABEL_TRUSTED in self.scopes:
            return Trust.TRUSTED
        return Trust.LABEL if Scope.LABEL in self.scopes else Trust.NONE


TRUSTING = frozenset({Scope.LABEL, Scope.LABEL_TRUSTED})
ANONYMOUS = Caller("", frozenset(Scope) - TRUSTING)
"""Who asks without a key where none is required: many may, so that nobody knows whose word it is."""


NOBODY = Caller("", frozenset())
"""Who asks without a key from afar: a probe."""
