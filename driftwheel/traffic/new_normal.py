"""Accepts what a version's newest windows hold as the new normal: later windows are held against them.

Only input and output drift are measured from there. Quality and engine are judged as before: that people ask something
else says nothing about whether the answers are right. What was accepted is the version's own; a newer version is
compared with what it was made for.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from driftwheel.errors import ConflictError, NotFoundError
from driftwheel.records.alias_key import AliasKey
from driftwheel.records.bookkeeping import Window
from driftwheel.records.by_whom import Action, Cause, me
from driftwheel.records.nouns import DriftKind, DriftSignal, DriftVerdict, Traffic
from driftwheel.settings.watching import MonitorSettings
from driftwheel.store.alias import get_alias
from driftwheel.store.any_of import any_of
from driftwheel.store.events import note_with
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.traffic.outcome_query import is_answered

FEWEST_ROWS = 50
"""Answered requests, with fewer of which a scan compares nothing."""
RENEWED = (DriftKind.INPUT, DriftKind.OUTPUT)


@dataclass(frozen=True, kw_only=True)
class NewNormal:
    """What was accepted of a version's windows."""

    version_id: str
    check_ids: list[str]
    """The windows whose answered requests later ones are compared with, the oldest first."""
    number: int
    """Of the last of them within the version."""

    def holds(self, kind: DriftKind, number: int) -> bool:
        """Say whether a window's verdict on a kind was accepted: it, or a later window, is part of what is normal."""
        return kind in RENEWED and number <= self.number


def new_normal_of(ledger: Ledger, project: str, version_id: str) -> NewNormal | None:
    """Return what was accepted of a version's windows, or None where nobody did."""
    value = ledger.switch(project, _name(version_id))
    return NewNormal(**json.loads(value)) if value else None


def accept(
    monitor: MonitorSettings,
    ledger: Ledger,
    key: AliasKey,
    *,
    windows: int | None = None,
    seen: str | None = None,
    by: Cause | None = None,
) -> NewNormal:
    """Hold what comes against the newest windows of the version that answers, and write down by whom.

    Without a number of `windows` these are the ones in a row that were over the threshold, and no more than
    `monitor.reference_rows` holds. `seen` is the newest check that the caller saw; None means whatever it is now.
    Raises NotFoundError where no window was checked, ConflictError where another one was checked meanwhile, or where
    too few answered requests are left of them.
    """
    alias = get_alias(ledger, *key)
    version_id = alias.observed_version_id or alias.version_id
    found = ledger.find(Window, TABLES[Window].c.number == _newest(version_id), version_id=version_id)
    if not found:
        raise NotFoundError(f"no window of {version_id} was checked yet: there is nothing to accept")
    last = found[0]
    most = max(1, -(-monitor.reference_rows // monitor.window_rows))
    count = windows or min(most, max(1, *(last.over_in_a_row.get(kind.value, 0) for kind in RENEWED)))
    table = TABLES[Window].c
    held = ledger.find(Window, table.number > last.number - count, table.number <= last.number, version_id=version_id)
    ids = [window.id for window in sorted(held, key=lambda window: window.number)]
    accepted = NewNormal(version_id=version_id, check_ids=ids, number=last.number)
    _check_rows(monitor, ledger, key, accepted)
    with ledger.write() as connection:
        newest = connection.execute(
            sa.select(table.id).where(table.number == _newest(version_id)).where(table.version_id == version_id)
        ).scalar()
        if newest != (seen or last.id):
            raise ConflictError(f"{newest} was checked meanwhile: look at it, and decide anew")
        _put(ledger, connection, key.project, accepted, by or me(), Action.ACCEPT_NORMAL)
    return accepted


def take_back(ledger: Ledger, key: AliasKey, *, by: Cause | None = None) -> NewNormal:
    """Hold the version that answers against what it was held against at first; return what was accepted until now.

    Raises NotFoundError where nothing was accepted.
    """
    alias = get_alias(ledger, *key)
    version_id = alias.observed_version_id or alias.version_id
    accepted = new_normal_of(ledger, key.project, version_id)
    if accepted is None:
        raise NotFoundError(f"nothing was accepted as the new normal of {version_id}")
    with ledger.write() as connection:
        _put(ledger, connection, key.project, None, by or me(), Action.TAKE_BACK_NORMAL, version_id)
    return accepted


def as_it_stands(ledger: Ledger, signals: Sequence[DriftSignal]) -> list[DriftSignal]:
    """Return signals of one check as they count now: what was accepted as normal is drift no more."""
    over = (DriftVerdict.DRIFTED, DriftVerdict.SUSPECTED)
    moved = next((s for s in signals if s.kind in RENEWED and s.verdict in over), None)
    accepted = new_normal_of(ledger, moved.project, moved.version_id) if moved else None
    if accepted is None:
        return list(signals)
    return [
        replace(s, verdict=DriftVerdict.STEADY)
        if s.kind in RENEWED and s.verdict in over and s.check_id in accepted.check_ids
        else s
        for s in signals
    ]


def _name(version_id: str) -> str:
    return f"normal/{version_id}"


def _newest(version_id: str) -> sa.ScalarSelect[int]:
    columns = TABLES[Window].c
    return sa.select(sa.func.max(columns.number)).where(columns.version_id == version_id).scalar_subquery()


def _check_rows(monitor: MonitorSettings, ledger: Ledger, key: AliasKey, accepted: NewNormal) -> None:
    columns = TABLES[Traffic].c
    is_its = (any_of(columns.check_id, accepted.check_ids), columns.version_id == accepted.version_id)
    rows = ledger.count(Traffic, *is_its, is_answered(), project=key.project, alias=key.name)
    least = max(FEWEST_ROWS, monitor.window_rows // 2)
    if rows < least:
        raise ConflictError(
            f"{rows} answered requests are left of the newest {len(accepted.check_ids)} window(s), and {least} are "
            "needed to compare with: accept more with --windows, or wait for the next window"
        )


def _put(
    ledger: Ledger,
    connection: sa.Connection,
    project: str,
    accepted: NewNormal | None,
    by: Cause,
    action: Action,
    version_id: str = "",
) -> None:
    """Set what is normal, with its event."""
    version_id = accepted.version_id if accepted else version_id
    value = {} if accepted is None else vars(accepted)
    ledger.set_switch_with(connection, project, _name(version_id), json.dumps(value) if value else "")
    note_with(ledger, connection, by, action, project, version_id, after=value)
