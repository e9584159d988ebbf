"""How the gateway answers at present: errors, latency, time to first token and tokens a second of the newest requests.

Read from a fixed number of rows, so that a look costs the same at one request a second and at a thousand.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from driftwheel.identity import utc_now
from driftwheel.records.nouns import Traffic
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.traffic.outcome_query import is_outcome
from driftwheel.traffic.outcomes import Outcome

NEWEST_ROWS = 500
"""Enough for a 95th percentile with 25 rows above it; reading them takes 2 ms."""
LONGEST_SPAN = timedelta(minutes=30)
"""An older request says nothing of now."""

_TRAFFIC = TABLES[Traffic].c


@dataclass(frozen=True, kw_only=True)
class Pace:
    """What was measured on the newest requests; None where none of them tells."""

    requests: int = 0
    since: datetime | None = None
    failed: int = 0
    """By the engine, or cut off; not what the gateway refused, and not whose client left."""
    latency_p95_seconds: float | None = None
    first_token_p95_seconds: float | None = None
    tokens_per_second: float | None = None
    """Of all answers together."""

    @property
    def failed_share(self) -> float | None:
        """The share that failed."""
        return self.failed / self.requests if self.requests else None


def pace(ledger: Ledger, project: str, now: datetime | None = None) -> Pace:
    """Return how the newest requests of the last half hour were answered."""
    at = now or utc_now()
    query = (
        sa.select(
            _TRAFFIC.created_at,
            _TRAFFIC.latency_seconds,
            _TRAFFIC.time_to_first_token_seconds,
            _TRAFFIC.completion_tokens,
            is_outcome(Outcome.FAILED).label("failed"),
            is_outcome(Outcome.ANSWERED).label("answered"),
        )
        .where(_TRAFFIC.project == project, _TRAFFIC.created_at > at - LONGEST_SPAN)
        .order_by(_TRAFFIC.created_at.desc())
        .limit(NEWEST_ROWS)
    )
    with ledger.read() as connection:
        rows = connection.execute(query).all()
    if not rows:
        return Pace()
    since = rows[-1].created_at
    # A refusal takes a millisecond: counted in, a burst of them would make a slow engine look fast.
    answered = [row for row in rows if row.answered]
    firsts = [row.time_to_first_token_seconds for row in answered if row.time_to_first_token_seconds is not None]
    return Pace(
        requests=len(rows),
        since=since,
        failed=sum(bool(row.failed) for row in rows),
        latency_p95_seconds=percentile([row.latency_seconds for row in answered], 0.95),
        first_token_p95_seconds=percentile(firsts, 0.95),
        tokens_per_second=sum(row.completion_tokens for row in rows) / max((at - since).total_seconds(), 1.0),
    )


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least this share of the values does not exceed; None without values."""
    if not values:
        return None
    return sorted(values)[math.ceil(share * len(values)) - 1]
