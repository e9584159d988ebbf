"""Sums up tokens and time by version and key, what they cost at the prices of the settings, and what training took."""

from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

from driftwheel.identity import utc_now
from driftwheel.records.nouns import Traffic, TrainingRun
from driftwheel.settings.watching import DashboardSettings
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES

SPAN = timedelta(hours=1)
"""At 100 requests a second these are 360,000 rows, which take 0.3 s to sum up; a day would take seven."""
DAY = timedelta(days=1)
MOST_KEYS = 50
MILLION = 1_000_000

_TRAFFIC = TABLES[Traffic].c


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What one key had of one version in the span."""

    version_id: str
    key_id: str
    """Empty where no key was asked for."""
    requests: int
    read_tokens: int
    written_tokens: int
    answering_seconds: float
    """Of all its requests together, from the first byte to the last; those at the same time count each."""
    cost: float | None
    """None where the settings hold no price."""


def spending(prices: DashboardSettings, ledger: Ledger, project: str) -> list[Spent]:
    """Return the tokens of the last hour by version and key, the most expensive or the most first."""
    since = utc_now() - SPAN
    read, written = sa.func.sum(_TRAFFIC.prompt_tokens), sa.func.sum(_TRAFFIC.completion_tokens)
    seconds = sa.func.sum(_TRAFFIC.latency_seconds)
    of = (_TRAFFIC.version_id, _TRAFFIC.key_id)
    query = sa.select(*of, sa.func.count(), read, written, seconds).group_by(*of).order_by((read + written).desc())
    query = query.where(_TRAFFIC.project == project, _TRAFFIC.created_at > since).limit(MOST_KEYS)
    with ledger.read() as connection:
        rows = connection.execute(query).all()
    return [
        Spent(
            version_id=version_id,
            key_id=key_id,
            requests=requests,
            read_tokens=int(read_tokens or 0),
            written_tokens=int(written_tokens or 0),
            answering_seconds=float(answering or 0.0),
            cost=cost_of(prices, int(read_tokens or 0), int(written_tokens or 0)),
        )
        for version_id, key_id, requests, read_tokens, written_tokens, answering in rows
    ]


@dataclass(frozen=True, kw_only=True)
class Total:
    """What a loop took, for one tile each."""

    read_tokens: int
    written_tokens: int
    """Of the last hour, as `read_tokens`."""
    cost: float | None
    training_seconds: float
    runs: int
    """Trainings that ended in the last day, which took `training_seconds`."""


def total(prices: DashboardSettings, ledger: Ledger, project: str) -> Total:
    """Return the tokens of the last hour with their cost, and the trainings of the last day."""
    spent = spending(prices, ledger, project)
    read, written = sum(s.read_tokens for s in spent), sum(s.written_tokens for s in spent)
    ended = TABLES[TrainingRun].c.finished_at
    runs = ledger.find(TrainingRun, ended > utc_now() - DAY, project=project)
    return Total(
        read_tokens=read,
        written_tokens=written,
        cost=cost_of(prices, read, written),
        training_seconds=sum(run.metrics.train_seconds or 0.0 for run in runs),
        runs=len(runs),
    )


def cost_of(prices: DashboardSettings, read_tokens: int, written_tokens: int) -> float | None:
    """Return what tokens cost; None where the settings hold no price."""
    if not prices.price_of_read_tokens and not prices.price_of_written_tokens:
        return None
    return (read_tokens * prices.price_of_read_tokens + written_tokens * prices.price_of_written_tokens) / MILLION
