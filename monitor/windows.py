"""The monitor's cursor: finds requests that are in no window yet, and marks those of the next window.

A request carries its mark itself (`check_id`). A cursor by time or by a growing number would lose the requests that
appear behind it: a long answer is written long after its request was read, clocks are set back, and of two gateways
that write at once the one with the lower number may commit last.
"""

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields

import sqlalchemy as sa

from driftwheel.errors import ConflictError
from driftwheel.records.bookkeeping import Window
from driftwheel.records.nouns import DriftSignal, Traffic
from driftwheel.store.any_of import any_of
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.text.grades import Criterion
from driftwheel.traffic.outcome_query import is_answered, is_observation
from monitor.observation import OBSERVED, Observation, observe

# The bodies are long, and every field that is read costs time. A field without a default has to be read.
UNOBSERVED = tuple(f.name for f in fields(Traffic) if f.default is not MISSING and f.name not in OBSERVED)
_TRAFFIC = TABLES[Traffic].c


@dataclass(frozen=True, kw_only=True)
class Source:
    """Whose requests are looked at: those that one version of a project answered through an alias."""

    project: str
    alias: str
    version_id: str
    label_field: str | None
    """Field of an answer that holds its label; None means that the whole answer is the label."""
    criterion: Criterion | None = None
    """What grades the answers that people correct; None where they are right or wrong."""


def unread(ledger: Ledger, source: Source, limit: int) -> tuple[Observation, ...]:
    """Return the oldest observations that no window has held, at most so many, oldest first."""
    return _observed(ledger, source, limit, [_TRAFFIC.check_id.is_(None), is_observation()])


def is_full(ledger: Ledger, project: str, alias: str, version_id: str, rows: int) -> bool:
    """Say whether so many observations wait for a window; none of them is read for it."""
    is_its = (_TRAFFIC.project == project, _TRAFFIC.alias == alias, _TRAFFIC.version_id == version_id)
    query = sa.select(_TRAFFIC.id).where(*is_its, _TRAFFIC.check_id.is_(None), is_observation())
    with ledger.read() as connection:
        # In the order of the index of what waits: without it another one is read, with all of the history.
        found = connection.execute(query.order_by(_TRAFFIC.created_at).offset(rows - 1).limit(1))
        return found.first() is not None


def first_rows(ledger: Ledger, source: Source, limit: int) -> tuple[Observation, ...]:
    """Return the version's first observations, answered or failed, oldest first."""
    return _observed(ledger, source, limit, [is_observation()])


def first_answered(ledger: Ledger, source: Source, limit: int) -> tuple[Observation, ...]:
    """Return the version's first requests with a whole answer, oldest first."""
    return _observed(ledger, source, limit, [is_answered()])


def _observed(
    ledger: Ledger, source: Source, limit: int, conditions: Sequence[sa.ColumnElement[bool]]
) -> tuple[Observation, ...]:
    rows = ledger.find(
        Traffic,
        *conditions,
        project=source.project,
        alias=source.alias,
        version_id=source.version_id,
        newest_first=False,
        limit=limit,
        without=UNOBSERVED,
    )
    return tuple(observe(row, source.label_field, source.criterion) for row in rows)


def last_window(ledger: Ledger, version_id: str) -> Window | None:
    """Return the window of a version that was checked last, or None before the first."""
    table = TABLES[Window]
    newest = sa.select(sa.func.max(table.c.number)).where(table.c.version_id == version_id).scalar_subquery()
    found = ledger.find(Window, table.c.number == newest, version_id=version_id)
    return found[0] if found else None


def earlier_windows(ledger: Ledger, source: Source, last: Window | None, limit: int) -> list[Window]:
    """Return the version's windows up to the last one, so many at most, the oldest first."""
    if last is None:
        return []
    numbers = (TABLES[Window].c.number > last.number - limit, TABLES[Window].c.number <= last.number)
    found = ledger.find(Window, *numbers, version_id=source.version_id)
    return sorted(found, key=lambda window: window.number)


def answered_in(ledger: Ledger, source: Source, window: Window) -> tuple[Observation, ...]:
    """Return the answered requests of a closed window, oldest first."""
    if window.started_at is None or window.ended_at is None:
        return ()  # of an older program; without bounds all of the history would be read for it
    bounds = (_TRAFFIC.created_at >= window.started_at, _TRAFFIC.created_at <= window.ended_at)
    return _observed(ledger, source, window.rows, [_TRAFFIC.check_id == window.id, *bounds, is_answered()])


def pass_over(connection: sa.Connection, source: Source, window: Window) -> None:
    """Mark the requests up to a window's end that are no observations, inside the caller's transaction.

    Refused requests and those whose client left would wait for ever for a window that holds them, and each look would
    read past all of them.
    """
    passed = sa.and_(
        _TRAFFIC.project == source.project,
        _TRAFFIC.alias == source.alias,
        _TRAFFIC.version_id == source.version_id,
        _TRAFFIC.check_id.is_(None),
        _TRAFFIC.created_at <= window.ended_at,
        sa.not_(is_observation()),
    )
    connection.execute(sa.update(TABLES[Traffic]).where(passed).values(check_id=window.id))


def close_window(
    ledger: Ledger, connection: sa.Connection, window: Window, ids: Sequence[str], signals: Sequence[DriftSignal]
) -> None:
    """Write a window down with its signals and mark its requests, inside the caller's transaction.

    Raises ConflictError if another monitor has checked one of the requests, or if one was deleted, in the meantime.
    """
    marked = sa.update(TABLES[Traffic]).where(any_of(_TRAFFIC.id, ids), _TRAFFIC.check_id.is_(None))
    ledger.add_with(connection, [window])
    ledger.add_with(connection, signals)
    if connection.execute(marked.values(check_id=window.id)).rowcount != len(ids):
        raise ConflictError(
            f"a request of {window.id} was checked by another monitor or deleted in the meantime; "
            "the next look cuts the window anew"
        )
