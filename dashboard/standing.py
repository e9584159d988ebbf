"""Where the loop stands: its seven stations, the drift lamp, and whether the gateway serves what it should."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from dashboard.queries import age, latest_check, newest, short, version_names
from driftwheel.control.gateway_reports import STALE_SECONDS
from driftwheel.identity import utc_now
from driftwheel.records.nouns import (
    NOUNS,
    Alias,
    Dataset,
    Deployment,
    DriftSignal,
    DriftVerdict,
    ModelVersion,
    RetrainDecision,
    Traffic,
    TrainingRun,
)
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES

WORST_FIRST = (DriftVerdict.DRIFTED, DriftVerdict.SUSPECTED, DriftVerdict.STEADY)
LAMPS = {DriftVerdict.DRIFTED: "red", DriftVerdict.SUSPECTED: "amber", DriftVerdict.STEADY: "green"}
LAMP_WORDS = {"green": "steady", "amber": "drift suspected", "red": "drift", "gray": "not known yet"}
PAGES_OF = {
    Dataset: "datasets",
    TrainingRun: "training_runs",
    ModelVersion: "model_versions",
    Deployment: "deployments",
    Traffic: "traffic",
    DriftSignal: "drift_signals",
    RetrainDecision: "decisions",
}
BAD_STATUSES = ("failed", "rejected", "drifted")


HEAVY: dict[type, tuple[str, ...]] = {
    ModelVersion: ("scorecard", "verdict", "fingerprint", "lineage"),
    Dataset: ("report",),
    TrainingRun: ("metrics",),
}
"""Fields that the stations do not show; each may be megabytes."""


@dataclass(frozen=True, kw_only=True)
class Station:
    """One noun on the circle: its newest record, in words."""

    noun: str
    id: str | None
    title: str
    status: str
    page: str = ""
    """Name of the page's file that shows it."""

    @property
    def is_bad(self) -> bool:
        """Whether it failed or raised an alarm."""
        return any(word in self.status for word in BAD_STATUSES)


@dataclass(frozen=True, kw_only=True)
class _Request:
    """Of a request, what a station shows: its prompt may be megabytes."""

    id: str
    created_at: datetime


def worst(signals: list[DriftSignal]) -> DriftVerdict:
    """Return the worst verdict among the signals that decide a kind."""
    verdicts = {s.verdict for s in signals if s.feature == "all"}
    return next((v for v in WORST_FIRST if v in verdicts), DriftVerdict.INSUFFICIENT)


def lamp(signals: list[DriftSignal]) -> str:
    """Return `red`, `amber`, `green`, or `gray` where nothing is known."""
    return LAMPS.get(worst(signals), "gray")


def gateway_state(alias: Alias | None, now: datetime | None = None) -> tuple[str, str]:
    """Return a word and a sentence about desired against observed."""
    if alias is None:
        return "empty", "No version is promoted yet."
    if alias.observed_at is None:
        return "silent", "The gateway has never reported: it was not started yet, or cannot write."
    if alias.observed_error:
        return "refused", alias.observed_error
    if alias.observed_version_id != alias.version_id:
        return "moving", "The gateway is proving the desired version before it swaps."
    if ((now or utc_now()) - alias.observed_at).total_seconds() > STALE_SECONDS:
        return "stale", "The gateway has not reported for a minute: it is down, or cannot write."
    return "serving", "The gateway serves the desired version."


def stations(ledger: Ledger, project: str, requests: int | None = None) -> list[Station]:
    """Return the seven nouns in the order of the circle, each with its newest record.

    `requests` is how many the log holds; they are counted where it is not given, which takes 0.1 s for a million.
    """
    if requests is None:
        requests = ledger.count(Traffic, project=project)
    titles = ("Dataset", "Training run", "Model version", "Deployment", "Traffic", "Drift signal", "Retrain decision")
    found = []
    names = version_names(ledger, project)
    for noun, title in zip(NOUNS, titles, strict=True):
        record = _newest(ledger, noun, project)
        is_counted = noun is Traffic and record is not None
        found.append(
            Station(
                noun=title,
                id=record.id if record else None,
                title=f"{requests:,} requests" if is_counted else _title(names, record),
                status=_status(ledger, project, record),
                page=PAGES_OF[noun],
            )
        )
    return found


def _newest(ledger: Ledger, noun: type, project: str) -> Any:
    """Return a noun's newest record, or None; of a request only what is shown."""
    if noun is not Traffic:
        records = newest(ledger, noun, project, limit=1, without=HEAVY.get(noun, ()))
        return records[0] if records else None
    columns = TABLES[Traffic].c
    query = sa.select(columns.id, columns.created_at).where(columns.project == project)
    with ledger.read() as connection:
        row = connection.execute(query.order_by(columns.created_at.desc()).limit(1)).first()
    return _Request(id=row.id, created_at=row.created_at) if row is not None else None


def _title(names: Mapping[str, str], record: Any) -> str:
    if record is None:
        return "none yet"
    if isinstance(record, ModelVersion):
        return f"v{record.number}, {age(record.created_at)}"
    if isinstance(record, Deployment):
        return f"{record.alias} to {names.get(record.version_id, short(record.version_id))}"
    if isinstance(record, DriftSignal):
        return f"check of {names.get(record.version_id, short(record.version_id))}"
    if isinstance(record, Dataset):
        return f"{record.train_rows:,} rows"
    if isinstance(record, TrainingRun):
        return f"{record.method}, {age(record.created_at)}"
    return age(record.created_at)


def _status(ledger: Ledger, project: str, record: Any) -> str:
    if record is None:
        return ""
    if isinstance(record, _Request):
        return age(record.created_at)
    if isinstance(record, DriftSignal):
        return str(worst(latest_check(ledger, project)))
    if isinstance(record, RetrainDecision):
        return f"{record.verdict}, {record.status}".replace("_", " ")
    return str(record.stage if isinstance(record, Deployment) else record.status)
