"""Reads what was said about a version's windows: labels, corrections and thumbs, whenever they came."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from driftwheel.records.bookkeeping import Window
from driftwheel.records.nouns import Traffic
from driftwheel.settings.watching import MonitorSettings
from driftwheel.store.any_of import any_of
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.text.answers import label_of
from driftwheel.traffic.outcome_query import is_answered
from monitor.observation import ACCEPTED, Observation, grade_of
from monitor.opinions import HORIZONS, Said, WindowEvidence, is_audited
from monitor.windows import Source

MOST_ROWS, FEWEST_WINDOWS = 20_000, 4
"""Looked at again at each check; with large windows the horizons are shorter, so that a check stays cheap."""
DIVISOR = 2**31 - 1
"""A prime: moments are summed up modulo it, because the sum of ten thousand in microseconds is beyond a bigint."""
_TRAFFIC, _WINDOW = TABLES[Traffic].c, TABLES[Window].c
_IS_LABELLED = sa.and_(_TRAFFIC.label.is_not(None), sa.func.coalesce(_TRAFFIC.label_source, "label") != ACCEPTED)
_IS_CONTRADICTED = sa.and_(_IS_LABELLED, _TRAFFIC.label != _TRAFFIC.answer)


@dataclass(frozen=True)
class Evidence:
    """What was said about a version's first windows and its newest ones, the one under examination last."""

    windows: tuple[WindowEvidence, ...]
    has_news: bool
    """Somebody said something about them since the last check."""


def evidence_of(
    monitor: MonitorSettings, ledger: Ledger, source: Source, before: Window | None, rows: Sequence[Observation]
) -> Evidence:
    """Return what is said by now about a version's windows, and about the requests that are its next one."""
    most = min(HORIZONS[-1], max(FEWEST_WINDOWS, MOST_ROWS // monitor.window_rows))
    known: list[_Heard] = []
    with ledger.read() as connection:
        first = _ends(connection, source, most, is_first=True)
        newest = [w for w in _ends(connection, source, most, is_first=False) if w not in first]
        for windows, is_newest in ((first, False), (newest, True)):
            marks = _marks(connection, source, windows, is_newest=is_newest) if windows else {}
            asked = [
                _Closed(ledger.url, w.id, source, monitor.audit_share, is_newest, marks.get(w.id, ()), ledger, w)
                for w in windows
            ]
            known += [_heard(window) if window.mark else NOBODY_SAID for window in asked]
    current = WindowEvidence(tuple(_observed(row, monitor.audit_share) for row in rows))
    since = before.created_at if before else None
    has_news = any(since is not None and heard.last is not None and heard.last > since for heard in known)
    has_news = has_news or any(said.is_said for said in current.told)
    return Evidence((*(heard.evidence for heard in known), current), has_news)


@dataclass(frozen=True)
class _Closed:
    """A closed window and a mark that is another one as soon as anything else is said about it."""

    url: str
    window_id: str
    source: Source
    audit_share: float
    is_newest: bool
    mark: tuple[int, ...]
    ledger: Ledger = field(compare=False)
    window: Any = field(compare=False)


@dataclass(frozen=True)
class _Heard:
    """What was said about a closed window, and when the last of it was."""

    evidence: WindowEvidence
    last: datetime | None


NOBODY_SAID = _Heard(WindowEvidence(()), None)


# Labels come late, and mostly none: a window is read again only when its mark says so.
@lru_cache(maxsize=4 * HORIZONS[-1])
def _heard(closed: _Closed) -> _Heard:
    with closed.ledger.read() as connection:
        query = _in(closed.source, [closed.window], *_columns(), is_newest=closed.is_newest)
        rows = connection.execute(query).all()
    said = [_as_said(row, closed.source, closed.audit_share) for row in rows]
    moments = [row.feedback_at for row, one in zip(rows, said, strict=True) if one.is_said and row.feedback_at]
    return _Heard(WindowEvidence(tuple(said)), max(moments, default=None))


def _marks(
    connection: sa.Connection, source: Source, windows: Sequence[Any], *, is_newest: bool
) -> dict[str, tuple[int, ...]]:
    """Return a mark of each window that has answered requests: of how many, and of what was said about them and when.

    A word that changes anything moves the moment of the request's feedback, and one that is taken back moves it, too.
    """
    moment = sa.type_coerce(_TRAFFIC.feedback_at, sa.BigInteger)
    columns = (_TRAFFIC.check_id, _TRAFFIC.label, _TRAFFIC.thumb, moment.label("moment"))
    rows = _in(source, windows, *columns, is_newest=is_newest).subquery().c
    marks = sa.select(
        rows.check_id,
        sa.func.count(),
        sa.func.count(rows.label),
        sa.func.coalesce(sa.func.sum(sa.func.length(rows.label)), 0),
        sa.func.count(rows.thumb),
        sa.func.coalesce(sa.func.sum(rows.thumb), 0),
        sa.func.coalesce(sa.func.sum(rows.moment % DIVISOR), 0),
    )
    found = connection.execute(marks.group_by(rows.check_id)).all()
    return {row[0]: tuple(int(value) for value in row[1:]) for row in found}


def _observed(row: Observation, audit_share: float) -> Said:
    return Said(row.author, is_audited(row.id, audit_share), row.is_correct, row.thumb, row.grade)


def _ends(connection: sa.Connection, source: Source, most: int, *, is_first: bool) -> list[Any]:
    """Return a version's first windows, or its last ones, the oldest first."""
    query = sa.select(_WINDOW.id, _WINDOW.number, _WINDOW.rows, _WINDOW.started_at, _WINDOW.ended_at)
    order = _WINDOW.number if is_first else _WINDOW.number.desc()
    found = connection.execute(query.where(_WINDOW.version_id == source.version_id).order_by(order).limit(most)).all()
    return sorted(found, key=lambda window: int(window.number))


def _in(source: Source, windows: Sequence[Any], *columns: sa.ColumnElement[Any], is_newest: bool) -> sa.Select[Any]:
    """Return the question for a version's answered requests in some windows, from their end of the history."""
    order = _TRAFFIC.created_at.desc() if is_newest else _TRAFFIC.created_at
    is_its = (_TRAFFIC.project == source.project, _TRAFFIC.alias == source.alias)
    query = sa.select(*columns).where(*is_its, _TRAFFIC.version_id == source.version_id, is_answered())
    query = query.where(any_of(_TRAFFIC.check_id, [window.id for window in windows])).order_by(order)
    starts, ends = [w.started_at for w in windows if w.started_at], [w.ended_at for w in windows if w.ended_at]
    if starts and ends:  # so that the index leads past what is in no such window
        query = query.where(_TRAFFIC.created_at >= min(starts), _TRAFFIC.created_at <= max(ends))
    return query.limit(sum(window.rows for window in windows))


def _columns() -> tuple[sa.ColumnElement[Any], ...]:
    """Return what is read of a request; texts only where label and answer differ."""
    return (
        *(_TRAFFIC.id, _TRAFFIC.key_id, _TRAFFIC.thumb, _TRAFFIC.label_source, _TRAFFIC.feedback_at),
        _IS_LABELLED.label("is_labelled"),
        sa.case((_IS_CONTRADICTED, _TRAFFIC.answer)).label("answer"),
        sa.case((_IS_CONTRADICTED, _TRAFFIC.label)).label("right"),
    )


def _as_said(row: sa.Row[Any], source: Source, audit_share: float) -> Said:
    is_correct, is_whole = (True if row.is_labelled else None), row.label_source != "label" or not source.label_field
    grade = 1.0 if row.is_labelled and is_whole and source.criterion else None
    if row.is_labelled and row.right is not None:
        right = row.right if row.label_source == "label" else label_of(row.right, source.label_field)
        is_correct = None if right is None else label_of(row.answer, source.label_field) == right
        grade = grade_of(source.criterion, row.answer, row.right) if is_whole else None
    return Said(row.key_id, is_audited(row.id, audit_share), is_correct, row.thumb, grade)
