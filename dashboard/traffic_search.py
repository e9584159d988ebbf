"""Searches the logged requests page by page, and counts them by minute; without Streamlit.

A page is found by where it begins (keyset paging), never by how many rows lie before it, so that the thousandth page
costs what the first does. Rows that come meanwhile move no page that is shown.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from driftwheel.identity import utc_now
from driftwheel.records.nouns import Traffic
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.traffic.outcome_query import is_outcome
from driftwheel.traffic.outcomes import Outcome

PAGE_ROWS = 100
LINE_CHARACTERS = 300
"""Of a text in a table: nobody reads more of it there, and a hundred prompts of 2 MB are a message of 200 MB."""
SCANNED_ROWS = 20_000
"""Of one step of a search. Bodies have no index, so that a search reads them: this many take 0.1 s."""
SEARCHED_CHARACTERS = 10_000
"""Of each text: a hundred prompts of 2 MB took a second to look through."""
MOST_NEWER = 1_000
MICROSECONDS = 60_000_000
"""In a minute; the database keeps moments as microseconds."""

_TRAFFIC = TABLES[Traffic].c


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
    since: datetime | None = None
    key_id: str = ""
    user_id: str = ""
    unsure_below: float | None = None
    """Only answers whose mean probability of a token is below this, 0 to 1; those that have none are left out."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a page begins: behind the request with this moment and id; no id stands before all of the moment."""

    created_at: datetime
    id: str = ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One request as a line of a table, its texts cut."""

    id: str
    created_at: datetime
    version_id: str
    status_code: int
    is_partial: bool
    prompt: str
    answer: str
    label: str | None
    thumb: int | None
    latency_seconds: float


@dataclass(frozen=True, kw_only=True)
class Found:
    """A page of a search."""

    ids: tuple[str, ...]
    older: Place | None
    """Where the search goes on; None at the end of the log."""
    searched_to: datetime | None = None
    """Where the search stopped before it had a whole page, because it had read enough."""


def minutes(
    ledger: Ledger,
    project: str,
    *,
    count: int = 30,
    now: datetime | None = None,
    start: datetime | None = None,
    with_median: bool = True,
) -> list[Minute]:
    """Return the minutes up to now, oldest first, empty ones included: the last `count`, or those since `start`.

    Without the median of the latencies it takes a third of the time: that one must put all rows of a minute in order.
    """
    end = (now or utc_now()).replace(second=0, microsecond=0)
    start = start or end - timedelta(minutes=count - 1)
    read = _by_minute if with_median else _counted_by_minute
    found = read(ledger, project, start, end + timedelta(minutes=1))
    moments = [start + timedelta(minutes=i) for i in range(int((end - start).total_seconds() // 60) + 1)]
    empty = {at: Minute(at=at, requests=0, failed=0, latency_p50_seconds=None) for at in moments}
    return [found.get(at, empty[at]) for at in moments]


def _by_minute(ledger: Ledger, project: str, start: datetime, end: datetime) -> dict[datetime, Minute]:
    """Count in the database: half an hour of a busy gateway is 180,000 rows."""
    failed = sa.case((is_outcome(Outcome.FAILED), 1), else_=0)
    minute = sa.type_coerce(_TRAFFIC.created_at, sa.BigInteger) // MICROSECONDS
    order = sa.func.row_number().over(partition_by=minute, order_by=_TRAFFIC.latency_seconds)
    rows = sa.func.count().over(partition_by=minute)
    inner = (
        sa.select(
            minute.label("minute"),
            failed.label("failed"),
            _TRAFFIC.latency_seconds,
            order.label("place"),
            rows.label("rows"),
        )
        .where(_TRAFFIC.project == project, _TRAFFIC.created_at >= start, _TRAFFIC.created_at < end)
        .subquery()
    )
    c = inner.c
    # The median: of an odd number of rows the middle one, of an even number the mean of both.
    is_middle = c.place.in_([(c.rows + 1) // 2, (c.rows + 2) // 2])
    median = sa.func.avg(sa.case((is_middle, c.latency_seconds)))
    query = sa.select(c.minute, sa.func.count(), sa.func.sum(c.failed), median).group_by(c.minute)
    with ledger.read() as connection:
        found = connection.execute(query).all()
    moments = [datetime.fromtimestamp(number * 60, start.tzinfo) for number, *_ in found]
    return {
        at: Minute(at=at, requests=requests, failed=int(failures), latency_p50_seconds=p50)
        for at, (_, requests, failures, p50) in zip(moments, found, strict=True)
    }


def _counted_by_minute(ledger: Ledger, project: str, start: datetime, end: datetime) -> dict[datetime, Minute]:
    minute = sa.type_coerce(_TRAFFIC.created_at, sa.BigInteger) // MICROSECONDS
    failed = sa.func.sum(sa.case((is_outcome(Outcome.FAILED), 1), else_=0))
    query = sa.select(minute, sa.func.count(), failed).group_by(minute)
    query = query.where(_TRAFFIC.project == project, _TRAFFIC.created_at >= start, _TRAFFIC.created_at < end)
    with ledger.read() as connection:
        found = connection.execute(query).all()
    moments = [datetime.fromtimestamp(number * 60, start.tzinfo) for number, *_ in found]
    return {
        at: Minute(at=at, requests=requests, failed=int(failures), latency_p50_seconds=None)
        for at, (_, requests, failures) in zip(moments, found, strict=True)
    }


def _conditions(wanted: TrafficFilter) -> list[sa.ColumnElement[bool]]:
    c = TABLES[Traffic].c
    conditions: list[sa.ColumnElement[bool]] = []
    if wanted.text:
        fields = [sa.func.substr(c[name], 1, SEARCHED_CHARACTERS) for name in ("prompt", "answer", "label", "id")]
        conditions.append(sa.or_(*(f.icontains(wanted.text, autoescape=True) for f in fields)))
    if wanted.version_id:
        conditions.append(c.version_id == wanted.version_id)
    feedback: dict[str, sa.ColumnElement[bool]] = {
        "labelled": c.label.is_not(None),
        "thumb up": c.thumb == 1,
        "thumb down": c.thumb == -1,
        "none": c.feedback_at.is_(None),
    }
    if wanted.key_id:
        conditions.append(c.key_id == wanted.key_id)
    if wanted.user_id:
        conditions.append(c.user_id == wanted.user_id)
    if wanted.since is not None:
        conditions.append(c.created_at >= wanted.since)
    if wanted.unsure_below is not None:
        # The mean is of log-probabilities; at 0 there is nothing below.
        conditions.append(c.mean_logprob < (math.log(wanted.unsure_below) if wanted.unsure_below > 0 else -math.inf))
    if wanted.outcome:
        conditions.append(is_outcome(Outcome(wanted.outcome)))
    if wanted.feedback:
        conditions.append(feedback[wanted.feedback])
    return conditions


def search_traffic(
    ledger: Ledger,
    project: str,
    wanted: TrafficFilter,
    *,
    before: Place | None = None,
    limit: int = PAGE_ROWS,
    scanned: int = SCANNED_ROWS,
) -> Found:
    """Return the ids of a page of matching requests, newest first.

    A search that filters reads at most about `scanned` rows and says how far it came, instead of reading a long log to
    its end for a rare word.
    """
    if before is None and wanted.text.startswith(f"{Traffic.prefix}_") and lines_of(ledger, project, (wanted.text,)):
        return Found(ids=(wanted.text,), older=None)  # an id finds its request however old that is
    conditions = [_TRAFFIC.project == project, *_behind(before)]
    wall = None
    if filters := _conditions(wanted):
        wall = _wall(ledger, conditions, scanned)
        conditions += [*filters, *([] if wall is None else [_TRAFFIC.created_at >= wall])]
    query = sa.select(_TRAFFIC.id, _TRAFFIC.created_at).where(*conditions).order_by(*_NEWEST_FIRST).limit(limit + 1)
    with ledger.read() as connection:
        rows = connection.execute(query).all()
    ids = tuple(row.id for row in rows[:limit])
    if len(rows) > limit:
        return Found(ids=ids, older=Place(created_at=rows[limit - 1].created_at, id=rows[limit - 1].id))
    return Found(ids=ids, older=None if wall is None else Place(created_at=wall), searched_to=wall)


_NEWEST_FIRST = (_TRAFFIC.created_at.desc(), _TRAFFIC.id.desc())


def _behind(place: Place | None) -> list[sa.ColumnElement[bool]]:
    if place is None:
        return []
    at = _TRAFFIC.created_at
    # The first condition says nothing new, and lets the index find where to begin.
    return [at <= place.created_at, sa.or_(at < place.created_at, _TRAFFIC.id < place.id)]


def _wall(ledger: Ledger, conditions: list[sa.ColumnElement[bool]], scanned: int) -> datetime | None:
    """Return the moment of the last row that a step may read, by the index alone; None where it may read them all."""
    query = sa.select(_TRAFFIC.created_at).where(*conditions).order_by(_TRAFFIC.created_at.desc())
    with ledger.read() as connection:
        return connection.execute(query.limit(1).offset(scanned)).scalar()


def lines_of(ledger: Ledger, project: str, ids: tuple[str, ...]) -> list[Line]:
    """Return the requests with these ids as lines, in their order; those that were deleted meanwhile are left out."""
    texts = [sa.func.substr(_TRAFFIC[n], 1, LINE_CHARACTERS).label(n) for n in ("prompt", "answer", "label")]
    names = ("id", "created_at", "version_id", "status_code", "is_partial", "thumb", "latency_seconds")
    # By id alone: asked for the project too, SQLite without statistics walks through all requests of the project.
    query = sa.select(_TRAFFIC.project, *(_TRAFFIC[n] for n in names), *texts).where(_TRAFFIC.id.in_(ids))
    with ledger.read() as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()]
    found = {row["id"]: Line(**row) for row in rows if row.pop("project") == project}
    return [found[id] for id in ids if id in found]


def newer_than(ledger: Ledger, project: str, wanted: TrafficFilter, newest: datetime) -> int:
    """Return how many matching requests came after a moment; of very many, `MOST_NEWER`."""
    conditions = [_TRAFFIC.project == project, _TRAFFIC.created_at > newest]
    latest = sa.select(_TRAFFIC.id).where(*conditions, *_conditions(wanted)).limit(MOST_NEWER).subquery()
    with ledger.read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(latest)).scalar_one())
