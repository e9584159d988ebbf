"""Writes down who did what: each control adds one event inside its own transaction, so that both happen or neither."""

import secrets
from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from driftwheel.identity import new_id, utc_now
from driftwheel.records.by_whom import Action, Cause, Event, Facts
from driftwheel.store.ledger import Ledger
from driftwheel.store.row_values import storable
from driftwheel.store.tables import TABLES


def note_with(
    ledger: Ledger,
    connection: sa.Connection,
    by: Cause,
    action: Action,
    project: str,
    object_id: str,
    *,
    before: Facts | None = None,
    after: Facts | None = None,
) -> Event:
    """Add an event inside the caller's transaction, and return it.

    `before` and `after` hold what was changed, and must be JSON.
    """
    at = utc_now()
    event = Event(
        # Two people may do the same in one microsecond, and both did it.
        id=new_id(Event.prefix, [project, by.actor, action, object_id, at, secrets.token_hex(8)], at),
        project=project,
        created_at=at,
        actor=storable(by.actor),
        action=action,
        object_id=storable(object_id),
        before=dict(before or {}),
        after=dict(after or {}),
        reason=storable(by.reason),
    )
    ledger.add_with(connection, [event])
    return event


def note(
    ledger: Ledger,
    by: Cause,
    action: Action,
    project: str,
    object_id: str,
    *,
    before: Facts | None = None,
    after: Facts | None = None,
) -> Event:
    """Add an event in a transaction of its own, for what changes nothing else in the ledger."""
    with ledger.write() as connection:
        return note_with(ledger, connection, by, action, project, object_id, before=before, after=after)


def events_of(
    ledger: Ledger,
    project: str,
    *,
    actions: Sequence[Action] = (),
    actor: str | None = None,
    since: datetime | None = None,
    object_id: str | None = None,
    limit: int | None = None,
) -> list[Event]:
    """Return a project's events, the newest first; an actor is named whole, or by a name behind `person:`."""
    columns = TABLES[Event].c
    conditions: list[sa.ColumnElement[bool]] = []
    if actions:
        conditions.append(columns.action.in_(actions))
    if actor is not None:
        conditions.append(columns.actor.in_([storable(actor), f"person:{storable(actor)}"]))
    if since is not None:
        conditions.append(columns.created_at >= since)
    if object_id is not None:
        conditions.append(columns.object_id == storable(object_id))
    return ledger.find(Event, *conditions, limit=limit, project=project)
