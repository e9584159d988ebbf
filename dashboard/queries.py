"""The ledger becomes what the pages show: lists, tiles and table rows, without Streamlit."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from driftwheel.records import (
    NOUNS,
    Alias,
    Dataset,
    Deployment,
    DriftSignal,
    DriftVerdict,
    ModelVersion,
    RetrainDecision,
    Step,
    Traffic,
    TrainingRun,
    utc_now,
)
from driftwheel.settings.settings import Settings
from driftwheel.store.alias import find_alias
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES

STALE_SECONDS = 60.0
WORST_FIRST = (DriftVerdict.DRIFTED, DriftVerdict.SUSPECTED, DriftVerdict.STEADY)
LAMPS = {DriftVerdict.DRIFTED: "red", DriftVerdict.SUSPECTED: "amber", DriftVerdict.STEADY: "green"}


@dataclass(frozen=True, kw_only=True)
class Station:
    """One noun on the circle: its newest record, in words."""

    noun: str
    id: str | None
    title: str
    status: str


@dataclass(frozen=True, kw_only=True)
class Minute:
    """What the gateway answered in one minute."""

    at: datetime
    requests: int
    failed: int
    latency_p50_seconds: float | None


@dataclass(frozen=True, kw_only=True)
class TrafficFilter:
    """Which requests to list; None leaves a field open."""

    text: str = ""
    version_id: str | None = None
    outcome: str | None = None
    """`answered`, `failed` or `cut off`."""
    feedback: str | None = None
    """`labelled`, `thumb up`, `thumb down` or `none`."""


def age(moment: datetime | None, now: datetime | None = None) -> str:
    """Return how long ago a moment was, such as `5 min ago`; a moment ahead of the clock says so."""
    if moment is None:
        return "never"
    seconds = ((now or utc_now()) - moment).total_seconds()
    side = "ago" if seconds >= 0 else "ahead of this clock"
    seconds = abs(seconds)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} {side}"
    return f"{int(seconds)} s {side}"


def moment_text(moment: datetime | None, now: datetime | None = None) -> str:
    """Return a moment in UTC with its age."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC, {age(moment, now)}" if moment else "never"


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return values by name, those of nested mappings as `outer.inner`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def newest(ledger: Ledger, noun: Any, project: str, limit: int = 200, **equals: Any) -> list[Any]:
    """Return the newest records of a noun."""
    return ledger.find(noun, project=project, limit=limit, **equals)


def alias_of(ledger: Ledger, settings: Settings) -> Alias | None:
    """Return the served alias, or None before the first promotion."""
    return find_alias(ledger, settings.project, settings.serve.alias)


def live_version(ledger: Ledger, settings: Settings) -> ModelVersion | None:
    """Return the version that the alias asks for."""
    alias = alias_of(ledger, settings)
    found = ledger.find(ModelVersion, id=alias.version_id) if alias else []
    return found[0] if found else None


def version_names(ledger: Ledger, project: str) -> dict[str, str]:
    """Return `v1`, `v2` ... for each version id, newest first."""
    table = TABLES[ModelVersion]
    query = sa.select(table.c.id, table.c.number).where(table.c.project == project).order_by(table.c.number.desc())
    with ledger.read() as connection:
        return {row.id: f"v{row.number}" for row in connection.execute(query)}


def latest_check(ledger: Ledger, project: str) -> list[DriftSignal]:
    """Return the signals of the newest check."""
    last = newest(ledger, DriftSignal, project, limit=1)
    return newest(ledger, DriftSignal, project, check_id=last[0].check_id) if last else []


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
        return "silent", "The gateway has never reported; start it with `driftwheel serve`."
    if alias.observed_error:
        return "refused", alias.observed_error
    if alias.observed_version_id != alias.version_id:
        return "moving", "The gateway is proving the desired version before it swaps."
    if ((now or utc_now()) - alias.observed_at).total_seconds() > STALE_SECONDS:
        return "stale", "The gateway serves the desired version, but has not reported for a minute."
    return "serving", "The gateway serves the desired version."


def stations(ledger: Ledger, settings: Settings) -> list[Station]:
    """Return the seven nouns in the order of the circle, each with its newest record."""
    titles = ("Dataset", "Training run", "Model version", "Deployment", "Traffic", "Drift signal", "Retrain decision")
    found = []
    for noun, title in zip(NOUNS, titles, strict=True):
        records = newest(ledger, noun, settings.project, limit=1)
        record = records[0] if records else None
        found.append(
            Station(
                noun=title,
                id=record.id if record else None,
                title=_title(ledger, settings, record),
                status=_status(settings, ledger, record),
            )
        )
    return found


def short(id: str | None) -> str:
    """Return the last part of an id, enough to recognize it."""
    return id.rsplit("_", 1)[-1] if id else "none"


def _title(ledger: Ledger, settings: Settings, record: Any) -> str:
    if record is None:
        return "none yet"
    if isinstance(record, ModelVersion):
        return f"v{record.number}  {short(record.id)}"
    if isinstance(record, Deployment):
        version = version_names(ledger, settings.project).get(record.version_id, short(record.version_id))
        return f"{record.alias} to {version}"
    if isinstance(record, Traffic):
        return f"{ledger.count(Traffic, project=settings.project):,} requests"
    return short(record.id)


def _status(settings: Settings, ledger: Ledger, record: Any) -> str:
    if record is None:
        return ""
    if isinstance(record, Traffic):
        return age(record.created_at)
    if isinstance(record, DriftSignal):
        return str(worst(latest_check(ledger, settings.project)))
    if isinstance(record, RetrainDecision):
        return f"{record.verdict}, {record.status}".replace("_", " ")
    return str(record.stage if isinstance(record, Deployment) else record.status)


def minutes(ledger: Ledger, project: str, *, count: int = 30, now: datetime | None = None) -> list[Minute]:
    """Return the last minutes of traffic, oldest first, empty ones included."""
    table, end = TABLES[Traffic], (now or utc_now()).replace(second=0, microsecond=0)
    start = end - timedelta(minutes=count - 1)
    query = sa.select(table.c.created_at, table.c.latency_seconds, table.c.status_code, table.c.is_partial).where(
        table.c.project == project, table.c.created_at >= start
    )
    with ledger.read() as connection:
        rows = connection.execute(query).all()
    buckets: dict[datetime, list[Any]] = {start + timedelta(minutes=i): [] for i in range(count)}
    for row in rows:
        buckets.setdefault(row.created_at.replace(second=0, microsecond=0), []).append(row)
    return [
        Minute(
            at=at,
            requests=len(found),
            failed=sum(r.status_code >= 400 or r.is_partial for r in found),
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
    outcomes: dict[str, sa.ColumnElement[bool]] = {
        "answered": sa.and_(c.status_code < 400, c.is_partial.is_(False)),
        "failed": c.status_code >= 400,
        "cut off": c.is_partial.is_(True),
    }
    feedback: dict[str, sa.ColumnElement[bool]] = {
        "labelled": c.label.is_not(None),
        "thumb up": c.thumb == 1,
        "thumb down": c.thumb == -1,
        "none": c.feedback_at.is_(None),
    }
    if wanted.outcome:
        conditions.append(outcomes[wanted.outcome])
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


def deciding_signals(ledger: Ledger, project: str, limit: int = 2000) -> list[DriftSignal]:
    """Return the signals that decide a kind, newest first."""
    return newest(ledger, DriftSignal, project, limit=limit, feature="all")


def shifted_words(signals: list[DriftSignal]) -> list[dict[str, Any]]:
    """Return the words that a check names as most shifted, as table rows."""
    for signal in signals:
        words = signal.details.get("words") or signal.details.get("shifted_words")
        if isinstance(words, list):
            return [w if isinstance(w, dict) else {"word": str(w)} for w in words]
        if isinstance(words, dict):
            return [{"word": word, "shift": shift} for word, shift in words.items()]
    return []


def steps_of(ledger: Ledger, decision_id: str) -> list[Step]:
    """Return a retrain job's steps in order."""
    return ledger.find(Step, decision_id=decision_id, newest_first=False)


def dataset_names(ledger: Ledger, project: str) -> dict[str, str]:
    """Return a readable name for each dataset id: time and hash."""
    return {d.id: f"{d.created_at.astimezone(UTC):%Y-%m-%d %H:%M}  {short(d.id)}" for d in newest(
        ledger, Dataset, project)}  # fmt: skip


def run_names(ledger: Ledger, project: str) -> dict[str, str]:
    """Return a readable name for each run id: time, method and hash, and which fold or search it belongs to."""
    runs = newest(ledger, TrainingRun, project)
    return {r.id: f"{r.created_at:%Y-%m-%d %H:%M}  {r.method}  {short(r.id)}{_part(r)}" for r in runs}


def _part(run: TrainingRun) -> str:
    fold, study = run.settings.get("fold"), run.settings.get("study")
    if isinstance(fold, dict):
        return f"  fold {fold.get('number')} of {fold.get('of')}"
    return f"  trial of {short(study)}" if isinstance(study, str) else ""
