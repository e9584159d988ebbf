"""Reads what was said about a version's windows: labels, corrections and thumbs, whenever they came."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from driftwheel.answers import label_of
from driftwheel.bookkeeping import Window
from driftwheel.records import Traffic
from driftwheel.settings.watching import MonitorSettings
from driftwheel.store.any_of import any_of
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.traffic.outcome_query import is_answered
from monitor.observation import ACCEPTED, Observation, grade_of
from monitor.opinions import HORIZONS, Said, WindowEvidence, is_audited
from monitor.windows import Source

MOST_ROWS, FEWEST_WINDOWS = 20_000, 4
"""Read again at each check; with large windows the horizons are shorter, so that a check stays cheap."""
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
    by_window: dict[str, list[Said]] = defaultdict(list)
    since, has_news = before.created_at if before else None, False
    with ledger.read() as connection:
        first = _ends(connection, source, most, is_first=True)
        newest = [w for w in _ends(connection, source, most, is_first=False) if w not in first]
        asked = [_in(source, first, _TRAFFIC.created_at)] if first else []
        asked += [_in(source, newest, _TRAFFIC.created_at.desc())] if newest else []
        for row in (row for query in asked for row in connection.execute(query)):
            said = _as_said(row, source, monitor.audit_share)
            by_window[row.check_id].append(said)
            has_news = has_news or bool(said.is_said and row.feedback_at and since and row.feedback_at > since)
    current = [_observed(row, monitor.audit_share) for row in rows]
    has_news = has_news or any(said.is_said for said in current)
    known = [*(by_window[window.id] for window in (*first, *newest)), current]
    return Evidence(tuple(WindowEvidence(tuple(said)) for said in known), has_news)


def _observed(row: Observation, audit_share: float) -> Said:
    return Said(row.author, is_audited(row.id, audit_share), row.is_correct, row.thumb, row.grade)


def _ends(connection: sa.Connection, source: Source, most: int, *, is_first: bool) -> list[Any]:
    """Return a version's first windows, or its last ones, the oldest first."""
    query = sa.select(_WINDOW.id, _WINDOW.number, _WINDOW.rows, _WINDOW.started_at, _WINDOW.ended_at)
    order = _WINDOW.number if is_first else _WINDOW.number.desc()
    found = connection.execute(query.where(_WINDOW.version_id == source.version_id).order_by(order).limit(most)).all()
    return sorted(found, key=lambda window: int(window.number))


def _in(source: Source, windows: Sequence[Any], order: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """Return the question for the requests of some windows, from that end of the history where these are."""
    query = _query(source).where(any_of(_TRAFFIC.check_id, [window.id for window in windows])).order_by(order)
    starts, ends = [w.started_at for w in windows if w.started_at], [w.ended_at for w in windows if w.ended_at]
    if starts and ends:  # so that the index leads past what is in no such window
        query = query.where(_TRAFFIC.created_at >= min(starts), _TRAFFIC.created_at <= max(ends))
    return query.limit(sum(window.rows for window in windows))


def _query(source: Source) -> sa.Select[Any]:
    """Return the question for a version's answered requests; texts are read only where label and answer differ."""
    columns = (
        *(_TRAFFIC.id, _TRAFFIC.check_id, _TRAFFIC.key_id, _TRAFFIC.thumb, _TRAFFIC.label_source, _TRAFFIC.feedback_at),
        _IS_LABELLED.label("is_labelled"),
        sa.case((_IS_CONTRADICTED, _TRAFFIC.answer)).label("answer"),
        sa.case((_IS_CONTRADICTED, _TRAFFIC.label)).label("right"),
    )
    is_its = (_TRAFFIC.project == source.project, _TRAFFIC.alias == source.alias)
    return sa.select(*columns).where(*is_its, _TRAFFIC.version_id == source.version_id, is_answered())


def _as_said(row: sa.Row[Any], source: Source, audit_share: float) -> Said:
    is_correct, is_whole = (True if row.is_labelled else None), row.label_source != "label" or not source.label_field
    grade = 1.0 if row.is_labelled and is_whole and source.criterion else None
    if row.is_labelled and row.right is not None:
        right = row.right if row.label_source == "label" else label_of(row.right, source.label_field)
        is_correct = None if right is None else label_of(row.answer, source.label_field) == right
        grade = grade_of(source.criterion, row.answer, row.right) if is_whole else None
    return Said(row.key_id, is_audited(row.id, audit_share), is_correct, row.thumb, grade)
