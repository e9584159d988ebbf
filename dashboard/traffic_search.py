"""Searches the logged requests, and counts them by minute; without Streamlit."""

import statistics
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from driftwheel.records import (
    Traffic,
    utc_now,
)
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.traffic.outcome_query import is_outcome
from driftwheel.traffic.outcomes import Outcome, outcome_of


@dataclass(frozen=True, kw_only=True)
class Minute:
    """What the gateway answered in one minute."""

    at: datetime
    requests: int
    failed: int
    """By the engine, or cut off; not what it refused, and not whose client left."""
    latency_p50_seconds: float | None


@dataclass(frozen=True, kw_only=True)
class TrafficFilter:
    """Which requests to list; None leaves a field open."""

    text: str = ""
    version_id: str | None = None
    outcome: str | None = None
    """A value of `Outcome`: answered, refused, left or failed."""
    feedback: str | None = None
    """`labelled`, `thumb up`, `thumb down` or `none`."""


def minutes(ledger: Ledger, project: str, *, count: int = 30, now: datetime | None = None) -> list[Minute]:
    """Return the last minutes of traffic, oldest first, empty ones included."""
    table, end = TABLES[Traffic], (now or utc_now()).replace(second=0, microsecond=0)
    start = end - timedelta(minutes=count - 1)
    columns = (table.c[name] for name in ("created_at", "latency_seconds", "status_code", "is_partial", "error"))
    query = sa.select(*columns).where(table.c.project == project, table.c.created_at >= start)
    with ledger.read() as connection:
        rows = connection.execute(query).all()
    buckets: dict[datetime, list[Any]] = {start + timedelta(minutes=i): [] for i in range(count)}
    for row in rows:
        buckets.setdefault(row.created_at.replace(second=0, microsecond=0), []).append(row)
    return [
        Minute(
            at=at,
            requests=len(found),
            failed=sum(outcome_of(r) is Outcome.FAILED for r in found),
            latency_p50_seconds=statistics.median(r.latency_seconds for r in found) if found else None,
        )
        for at, found in sorted(buckets.items())
        if at <= end
    ]


def _conditions(wanted: TrafficFilter) -> list[sa.ColumnElement[bool]]:
    c = TABLES[Traffic].c
    conditions: list[sa.ColumnElement[bool]] = []
    if wanted.text:
        fields = (c.prompt, c.answer, c.label, c.id)
        conditions.append(sa.or_(*(f.icontains(wanted.text, autoescape=True) for f in fields)))
    if wanted.version_id:
        conditions.append(c.version_id == wanted.version_id)
    feedback: dict[str, sa.ColumnElement[bool]] = {
        "labelled": c.label.is_not(None),
        "thumb up": c.thumb == 1,
        "thumb down": c.thumb == -1,
        "none": c.feedback_at.is_(None),
    }
    if wanted.outcome:
        conditions.append(is_outcome(Outcome(wanted.outcome)))
    if wanted.feedback:
        conditions.append(feedback[wanted.feedback])
    return conditions


def search_traffic(
    ledger: Ledger, project: str, wanted: TrafficFilter, *, limit: int = 100, offset: int = 0
) -> tuple[list[Traffic], int]:
    """Return a page of matching requests, newest first, and how many match."""
    conditions = _conditions(wanted)
    rows = ledger.find(Traffic, *conditions, project=project, limit=limit, offset=offset)
    return rows, ledger.count(Traffic, *conditions, project=project)
