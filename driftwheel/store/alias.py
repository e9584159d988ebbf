"""The alias row of a project: which version is desired and which is live, changed by compare-and-set on its fence.

Several loops may share a database, and each may have an alias `default`; so every function here takes both names. The
desired half of the row is written by people and the worker, the observed half by the gateway that leads the others.
"""

import json

import sqlalchemy as sa

from driftwheel.errors import ConflictError, NotFoundError
from driftwheel.identity import utc_now
from driftwheel.records.by_whom import Action, Cause, Facts, me
from driftwheel.records.nouns import Alias, ModelVersion
from driftwheel.store.events import note_with
from driftwheel.store.ledger import Ledger
from driftwheel.store.row_values import storable
from driftwheel.store.tables import TABLES

_ALIAS = TABLES[Alias]


def alias_id(project: str, name: str) -> str:
    """Return the id of a project's alias."""
    return f"{project}/{name}"


def find_alias(ledger: Ledger, project: str, name: str) -> Alias | None:
    """Return a project's alias, or None before the first promotion."""
    found = ledger.find(Alias, id=alias_id(project, name))
    return found[0] if found else None


def get_alias(ledger: Ledger, project: str, name: str) -> Alias:
    """Return a project's alias; raises NotFoundError before the first promotion."""
    found = find_alias(ledger, project, name)
    if found is None:
        raise NotFoundError(f"project {project!r} has no alias {name!r} yet; promote a version first")
    return found


def live_version(ledger: Ledger, project: str, name: str) -> ModelVersion | None:
    """Return the version that a project's alias points at, or None before the first promotion."""
    alias = find_alias(ledger, project, name)
    return ledger.get(ModelVersion, alias.version_id) if alias else None


def move_alias(
    ledger: Ledger,
    project: str,
    name: str,
    version_id: str,
    *,
    fence: int | None = None,
    switch: tuple[str, str] | None = None,
    by: Cause | None = None,
) -> Alias:
    """Point an alias at a version by compare-and-set, and write down by whom; nobody named is who runs this process.

    `fence` is the number that the caller read; None means whatever it is now, so that whoever comes last has the say.
    `switch` is a name and a value, in JSON, to set together with the move: how the version is to be released. One that
    the alias means already and that is not live yet, as a canary or one that was refused, is released anew by it.
    Raises ConflictError if another writer moved it first.
    """
    with ledger.write() as connection:
        current = _locked_alias(connection, project, name)
        if current is None:
            first = Alias(id=alias_id(project, name), project=project, name=name, version_id=version_id, fence=1)
            ledger.add_with(connection, [first])
            _note_move(ledger, connection, None, first, by, Action.PROMOTE)
            return first
        if fence is not None and current.fence != fence:
            raise ConflictError(f"alias {name!r} is at fence {current.fence}, not {fence}: someone moved it first")
        if current.version_id != version_id:
            return move_alias_with(ledger, connection, current, version_id, switch=switch, by=by)
        is_live = (current.observed_version_id, current.observed_fence) == (version_id, current.fence)
        if switch is None or is_live:
            return current
        # The version before stays the one to go back to.
        again = ledger.change_with(connection, current, fence=current.fence + 1, observed_error=None)
        ledger.set_switch_with(connection, project, *switch)
        _note_move(ledger, connection, current, again, by, Action.PROMOTE, plan=json.loads(switch[1]))
        return again


def _locked_alias(connection: sa.Connection, project: str, name: str) -> Alias | None:
    """Return a project's alias, and let nobody change it before the caller's transaction ends."""
    query = sa.select(_ALIAS).where(_ALIAS.c.id == alias_id(project, name)).with_for_update()
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else Alias(**row)


def move_alias_with(
    ledger: Ledger,
    connection: sa.Connection,
    current: Alias,
    version_id: str,
    *,
    switch: tuple[str, str] | None = None,
    by: Cause | None = None,
    action: Action = Action.PROMOTE,
) -> Alias:
    """Point an alias at another version inside the caller's transaction, only if its fence is the one that was read."""
    moved = ledger.change_with(
        connection,
        current,
        version_id=version_id,
        previous_version_id=current.version_id,
        fence=current.fence + 1,
        observed_error=None,
    )
    if switch is not None:
        ledger.set_switch_with(connection, current.project, *switch)
    _note_move(ledger, connection, current, moved, by, action, plan=json.loads(switch[1]) if switch else None)
    return moved


def _note_move(
    ledger: Ledger,
    connection: sa.Connection,
    old: Alias | None,
    new: Alias,
    by: Cause | None,
    action: Action,
    plan: object = None,
) -> None:
    before: Facts = {} if old is None else {"version_id": old.version_id, "fence": old.fence}
    after: Facts = {"version_id": new.version_id, "fence": new.fence} | ({"plan": plan} if plan else {})
    note_with(ledger, connection, by or me(), action, new.project, new.name, before=before, after=after)


def observe_alias(
    connection: sa.Connection,
    project: str,
    name: str,
    *,
    version_id: str | None,
    fence: int,
    error: str | None = None,
) -> None:
    """Record what is really served, inside the caller's transaction; never touches the desired half of the row.

    A report that is older than the one in the row is dropped.
    """
    values = {
        "observed_fence": fence,
        "observed_at": utc_now(),
        "observed_error": None if error is None else storable(error),
    }
    if version_id is not None:
        values["observed_version_id"] = version_id
    is_it = _ALIAS.c.id == alias_id(project, name)
    connection.execute(sa.update(_ALIAS).where(is_it, _ALIAS.c.observed_fence <= fence).values(**values))


def send_heartbeat(ledger: Ledger, alias: Alias, leader: str) -> bool:
    """Count a heartbeat of a gateway that leads, or wants to; return False if the row has changed since it was read."""
    is_same = sa.and_(
        _ALIAS.c.id == alias.id,
        _ALIAS.c.leader.is_not_distinct_from(alias.leader),
        _ALIAS.c.heartbeats.is_not_distinct_from(alias.heartbeats),
    )
    values = {"leader": leader, "heartbeats": (alias.heartbeats or 0) + 1}
    with ledger.write() as connection:
        return connection.execute(sa.update(_ALIAS).where(is_same).values(**values)).rowcount == 1


def leader_of(connection: sa.Connection, project: str, name: str) -> str | None:
    """Return which gateway leads, and let nobody change that before the caller's transaction ends."""
    query = sa.select(_ALIAS.c.leader).where(_ALIAS.c.id == alias_id(project, name)).with_for_update()
    return connection.execute(query).scalar_one_or_none()


def dismiss_leader(connection: sa.Connection, project: str, name: str) -> None:
    """Let another gateway lead, inside the caller's transaction."""
    connection.execute(sa.update(_ALIAS).where(_ALIAS.c.id == alias_id(project, name)).values(leader=None))
