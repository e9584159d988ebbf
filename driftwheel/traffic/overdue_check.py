"""Says that answers wait for the monitor though they fill a window: it does not run, or each of its checks fails."""

from datetime import datetime

import sqlalchemy as sa

from driftwheel.records.alias_key import AliasKey
from driftwheel.records.bookkeeping import Window
from driftwheel.records.nouns import Traffic
from driftwheel.settings.watching import MonitorSettings
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.traffic.outcome_query import is_observation

PATIENCE_SECONDS, PATIENCE_LOOKS = 120.0, 6
"""A full window waits this long, and so many looks, before that is said: a check takes seconds, its report more."""
_TRAFFIC, _WINDOW = TABLES[Traffic].c, TABLES[Window].c


def overdue_check(
    monitor: MonitorSettings, ledger: Ledger, key: AliasKey, *, version_id: str, at: datetime
) -> str | None:
    """Return what waits for a check of a version, and since when; None while the monitor keeps up at the time `at`."""
    waiting = (
        _TRAFFIC.project == key.project,
        _TRAFFIC.alias == key.name,
        _TRAFFIC.version_id == version_id,
        _TRAFFIC.check_id.is_(None),
        is_observation(),
    )
    times = sa.select(_TRAFFIC.created_at).where(*waiting).order_by(_TRAFFIC.created_at)
    with ledger.read() as connection:
        full_at = connection.execute(times.offset(monitor.window_rows - 1).limit(1)).scalar()
        last = connection.execute(sa.select(sa.func.max(_WINDOW.created_at)).where(_WINDOW.version_id == version_id))
        checked_at = last.scalar()
    if full_at is None:
        return None
    # A monitor that catches up with a long backlog is at work, however old its rows are.
    since = max(full_at, checked_at or full_at)
    if (at - since).total_seconds() <= max(PATIENCE_SECONDS, PATIENCE_LOOKS * monitor.interval_seconds):
        return None
    return (
        f"{ledger.count(Traffic, *waiting)} answers wait for a check since {since:%Y-%m-%d %H:%M} UTC, and "
        f"{monitor.window_rows} fill a window; does `driftwheel up` run? monitor.log says why a check fails"
    )
