"""Retention of the traffic log: deletes old or excess rows, except those that the loop still needs.

Still needed, however old, are labelled rows that no retrain has learned from yet, and the rows that the monitor
compares a live or previous version with. They go once a newer version has taken over.

Rows that wait for their window do not belong to these. `traffic.keep_days` is a promise about other people's texts and
`traffic.keep_mib` protects the disk: where no monitor runs, or too few requests come to fill a window in that time,
keeping them would break both without end. So they go, and are counted: in the log, and in `driftwheel status`.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
import structlog

from driftwheel.records.alias_key import AliasKey
from driftwheel.records.by_whom import Feedback
from driftwheel.records.nouns import Alias, Dataset, ModelVersion, Traffic
from driftwheel.settings.settings import Settings
from driftwheel.settings.watching import MonitorSettings
from driftwheel.store.alias import find_alias
from driftwheel.store.any_of import any_of
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.traffic.new_normal import new_normal_of
from driftwheel.traffic.outcome_query import is_answered, is_observation, is_unwatched

BATCH_ROWS = 500
"""Rows that one transaction deletes; on SQLite no answer can be logged while it lasts."""
PAUSE_SECONDS = 0.05
"""Between two batches, so that the log of the gateway gets its turn to write."""
ROW_BYTES = 500
"""What a row takes beside its texts, its entries in five indexes included.

Measured with 8,000 rows of 0.1 to 1 KB: 420 to 560 on SQLite, 515 to 750 on PostgreSQL, of which about 220 and
250 are the indexes'; one of these holds only labelled rows, one only those that no window of the monitor has taken yet.
"""
PRUNED, UNCHECKED = "pruned_rows", "pruned_unchecked_rows"
"""Names of the switches that count what was ever deleted, and what of that no drift check had seen."""
_TRAFFIC = TABLES[Traffic].c
log = structlog.get_logger()


@dataclass(frozen=True)
class Volume:
    """How much traffic there is."""

    rows: int
    size_bytes: int
    """Its texts and `ROW_BYTES` for each row; a database gives freed space to later rows, not back to the disk."""
    needed_rows: int
    oldest_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """How many rows were deleted."""

    rows: int = 0
    unchecked_rows: int = 0
    """Those of them that the live version answered, and that no window of the monitor had held yet."""

    def __add__(self, other: "Pruned") -> "Pruned":
        return Pruned(rows=self.rows + other.rows, unchecked_rows=self.unchecked_rows + other.unchecked_rows)


def volume(monitor: MonitorSettings, ledger: Ledger, key: AliasKey) -> Volume:
    """Measure a project's traffic."""
    query = sa.select(
        sa.func.count(), sa.func.coalesce(sa.func.sum(_size()), 0), sa.func.min(_TRAFFIC.created_at)
    ).where(_TRAFFIC.project == key.project)
    with ledger.read() as connection:
        rows, size_bytes, oldest_at = connection.execute(query).one()
    needed = ledger.count(Traffic, is_needed(monitor, ledger, key), project=key.project)
    return Volume(rows, int(size_bytes), needed, oldest_at)


def prune(settings: Settings, ledger: Ledger, now: datetime) -> Pruned:
    """Delete what is older than `traffic.keep_days`, then the oldest over `traffic.keep_mib`; return how many rows."""
    key, limits, pruned = settings.alias_key, settings.traffic, Pruned()
    spared = sa.not_(is_needed(settings.monitor, ledger, key))
    if limits.keep_days is not None:
        is_old = _TRAFFIC.created_at < now - timedelta(days=limits.keep_days)
        pruned += _delete(ledger, key, [spared, is_old], None)
    if limits.keep_mib is not None:
        excess_bytes = volume(settings.monitor, ledger, key).size_bytes - limits.keep_mib * 2**20
        pruned += _delete(ledger, key, [spared], excess_bytes)
    if pruned.unchecked_rows:
        log.warning("rows were deleted before a drift check saw them", **vars(pruned))
    return pruned


def pruned_rows(ledger: Ledger, project: str) -> int:
    """Return how many rows were ever deleted, so that a count of all that came never falls."""
    return int(ledger.switch(project, PRUNED, "0"))


def unchecked_rows(ledger: Ledger, project: str) -> int:
    """Return how many of these no drift check had seen."""
    return int(ledger.switch(project, UNCHECKED, "0"))


def is_needed(monitor: MonitorSettings, ledger: Ledger, key: AliasKey) -> sa.ColumnElement[bool]:
    """Return the condition that holds for the rows that the loop still needs."""
    is_judged = sa.or_(_TRAFFIC.label.is_not(None), _TRAFFIC.thumb.is_not(None))
    has_feedback = sa.and_(is_judged, sa.not_(is_unwatched()))
    versions = _versions_in_use(ledger, key.project)
    datasets = ledger.find(Dataset, id=[version.dataset_id for version in versions])
    given_at = sa.func.coalesce(_TRAFFIC.feedback_at, _TRAFFIC.created_at)
    # A rollback makes an older dataset the live one, and what was labelled since then is fresh again.
    learned_until = min((dataset.created_at for dataset in datasets), default=None)
    is_fresh = has_feedback if learned_until is None else sa.and_(has_feedback, given_at > learned_until)
    compared = [_first_window(monitor, ledger, key, version) for version in versions]
    accepted = [new_normal_of(ledger, key.project, version.id) for version in versions]
    compared += [any_of(_TRAFFIC.check_id, normal.check_ids) for normal in accepted if normal is not None]
    compared += [_before(monitor, ledger, key, dataset) for dataset in datasets if dataset.origin != "files"]
    return sa.func.coalesce(sa.or_(is_fresh, *compared), sa.false())


def _versions_in_use(ledger: Ledger, project: str) -> list[ModelVersion]:
    aliases = ledger.find(Alias, project=project)
    ids = {i for a in aliases for i in (a.version_id, a.observed_version_id, a.previous_version_id) if i is not None}
    return ledger.find(ModelVersion, id=sorted(ids))


def _first_window(
    monitor: MonitorSettings, ledger: Ledger, key: AliasKey, version: ModelVersion
) -> sa.ColumnElement[bool]:
    """Return the condition of a version's first answered requests, which later ones are compared with."""
    is_its = sa.and_(_TRAFFIC.version_id == version.id, _TRAFFIC.alias == key.name)
    last_place = monitor.window_rows - 1
    last = ledger.find(
        Traffic, is_its, is_answered(), project=key.project, newest_first=False, limit=1, offset=last_place
    )
    return sa.and_(is_its, _TRAFFIC.created_at <= last[0].created_at) if last else is_its


def _before(monitor: MonitorSettings, ledger: Ledger, key: AliasKey, dataset: Dataset) -> sa.ColumnElement[bool]:
    """Return the condition of the last traffic before a retrain's dataset, which its version's is compared with."""
    is_before = sa.and_(_TRAFFIC.created_at < dataset.created_at, _TRAFFIC.alias == key.name, is_answered())
    first = ledger.find(Traffic, is_before, project=key.project, limit=1, offset=monitor.reference_rows - 1)
    return sa.and_(is_before, _TRAFFIC.created_at >= first[0].created_at) if first else is_before


def _size() -> Any:
    texts = (_TRAFFIC.prompt, _TRAFFIC.request, _TRAFFIC.answer, _TRAFFIC.response, _TRAFFIC.label)
    return sum((sa.func.coalesce(sa.func.octet_length(text), 0) for text in texts), sa.literal(ROW_BYTES))


def _delete(
    ledger: Ledger, key: AliasKey, conditions: list[sa.ColumnElement[bool]], excess_bytes: int | None
) -> Pruned:
    """Delete the oldest rows, all that there are or until the excess is gone, a batch at a time; return how many."""
    pruned = Pruned()
    oldest = (
        sa.select(_TRAFFIC.id, _size(), _waits_for_window(ledger, key))
        .where(_TRAFFIC.project == key.project, *conditions)
        .order_by(_TRAFFIC.created_at, _TRAFFIC.id)
        .limit(BATCH_ROWS)
    )
    while excess_bytes is None or excess_bytes > 0:
        with ledger.write() as connection:
            batch = []
            for request_id, size_bytes, waits in connection.execute(oldest):
                if excess_bytes is not None:
                    if excess_bytes <= 0:
                        break
                    excess_bytes -= size_bytes
                batch.append((request_id, waits))
            pruned += _delete_batch(ledger, connection, key, batch)
        if len(batch) < BATCH_ROWS:
            break
        time.sleep(PAUSE_SECONDS)
    return pruned


def _waits_for_window(ledger: Ledger, key: AliasKey) -> sa.ColumnElement[bool]:
    """Return the condition of the rows that a window could still hold: those of versions that are or become live."""
    alias = find_alias(ledger, *key)
    live = [] if alias is None else [alias.version_id, alias.observed_version_id or alias.version_id]
    is_live = sa.and_(_TRAFFIC.alias == key.name, _TRAFFIC.version_id.in_(live))
    return sa.and_(_TRAFFIC.check_id.is_(None), is_live, is_observation())


def _delete_batch(
    ledger: Ledger, connection: sa.Connection, key: AliasKey, batch: Sequence[tuple[str, bool]]
) -> Pruned:
    """Delete rows with their feedback and count them in the same transaction, so that no crash comes between."""
    ids = [request_id for request_id, _ in batch]
    deleted = connection.execute(sa.delete(TABLES[Traffic]).where(_TRAFFIC.id.in_(ids))).rowcount
    connection.execute(sa.delete(TABLES[Feedback]).where(TABLES[Feedback].c.request_id.in_(ids)))
    found = Pruned(rows=deleted, unchecked_rows=sum(bool(waits) for _, waits in batch))
    for name, count in ((PRUNED, found.rows), (UNCHECKED, found.unchecked_rows)):
        if count:
            ledger.count_up_with(connection, key.project, name, count)
    return found
