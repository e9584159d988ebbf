"""Lays out who did what to a loop: events as table rows in plain words, filtered by kind, person, time and object."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

from dashboard.queries import flat, short
from dashboard.scorecards import Row
from driftwheel.records.by_whom import Action, Event
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES

WORDS = {
    Action.PROMOTE: "made a version the desired one",
    Action.ROLL_BACK: "went back to the version before",
    Action.SWAP: "the gateway swapped",
    Action.REFUSE_SWAP: "the gateway refused a version",
    Action.BEGIN_CANARY: "began a canary",
    Action.ADVANCE_CANARY: "gave the canary more",
    Action.HOLD_CANARY: "held the canary",
    Action.ABORT_CANARY: "ended the canary",
    Action.SHADOW: "began a shadow",
    Action.END_SHADOW: "ended the shadow",
    Action.ASK_RETRAIN: "asked for a retrain",
    Action.APPROVE: "approved a retrain",
    Action.REFUSE: "refused a retrain",
    Action.CANCEL: "cancelled a retrain",
    Action.END_RETRAIN: "a retrain ended",
    Action.PAUSE: "paused retraining",
    Action.RESUME: "resumed retraining",
    Action.PUBLISH: "published a version",
    Action.REJECT: "rejected a version",
    Action.ALARM: "an alarm rang",
    Action.ACCEPT_NORMAL: "accepted what had changed as the new normal",
    Action.TAKE_BACK_NORMAL: "took back what was accepted as normal",
    Action.NOTIFY: "people were told",
    Action.CONFIRM_FEEDBACK: "confirmed feedback",
    Action.WITHDRAW_FEEDBACK: "took feedback back",
    Action.CREATE_KEY: "made a key",
    Action.ROTATE_KEY: "replaced a key",
    Action.DISABLE_KEY: "disabled a key",
    Action.CHANGE_SETTINGS: "changed the settings",
    Action.FORGET: "deleted what somebody left",
}
GROUPS = {
    "versions": (Action.PROMOTE, Action.ROLL_BACK, Action.SWAP, Action.REFUSE_SWAP, Action.PUBLISH, Action.REJECT),
    "canary and shadow": tuple(a for a in Action if "canary" in a or "shadow" in a),
    "retrains": (
        *(Action.ASK_RETRAIN, Action.APPROVE, Action.REFUSE, Action.CANCEL, Action.END_RETRAIN),
        *(Action.PAUSE, Action.RESUME),
    ),
    "alarms and who was told": (Action.ALARM, Action.NOTIFY, Action.ACCEPT_NORMAL, Action.TAKE_BACK_NORMAL),
    "feedback": tuple(a for a in Action if "feedback" in a),
    "keys": tuple(a for a in Action if a.endswith("_key")),
}
"""What a person looks for, and the actions that it stands for; what is in none is found under `other`."""
OTHER = "other"
SPANS = {
    "the last hour": timedelta(hours=1),
    "the last day": timedelta(days=1),
    "the last week": timedelta(days=7),
}
OURS = ("fence",)
"""What tells programs one move from the next, and a person nothing."""
MOST_ACTORS = 100
LONGEST = 200


def actions_of(group: str | None) -> tuple[Action, ...]:
    """Return the actions of a group; none given means all."""
    if group is None:
        return ()
    if group == OTHER:
        known = {action for actions in GROUPS.values() for action in actions}
        return tuple(action for action in Action if action not in known)
    return GROUPS.get(group, ())


def actors(ledger: Ledger, project: str) -> list[str]:
    """Return who has done something, by name."""
    columns = TABLES[Event].c
    query = sa.select(columns.actor).distinct().where(columns.project == project).order_by(columns.actor)
    with ledger.read() as connection:
        return list(connection.execute(query.limit(MOST_ACTORS)).scalars())


def since_of(span: str | None, now: datetime) -> datetime | None:
    """Return from when on a span reaches; None for all time."""
    return now - SPANS[span] if span in SPANS else None


def event_rows(events: Sequence[Event], names: Mapping[str, str]) -> list[Row]:
    """Return events as rows; `names` are the readable names of versions by id."""
    return [
        {
            "time (UTC)": f"{event.created_at:%Y-%m-%d %H:%M:%S}",
            "who": _who(event.actor),
            "what": WORDS.get(event.action, str(event.action).replace("_", " ")),
            "to": names.get(event.object_id, short(event.object_id)),
            "why": event.reason[:LONGEST],
            "change": _change(event, names)[:LONGEST],
            "id": event.id,
        }
        for event in events
    ]


def _who(actor: str) -> str:
    """Return an actor without the word before a person's name; a process keeps it."""
    return actor.removeprefix("person:").replace("process:", "the ", 1) if ":" in actor else actor


def _change(event: Event, names: Mapping[str, str]) -> str:
    before, after = flat(event.before), flat(event.after)

    def said(values: Mapping[str, object], name: str) -> str:
        value = values[name]
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, float):
            return f"{value:.3g}"
        if isinstance(value, list):
            return " and ".join(map(str, value)) or "nothing"
        return "nothing" if value is None else names.get(str(value), str(value))

    parts = []
    for name in dict.fromkeys([*before, *after]):
        values_of = [values[name] for values in (before, after) if name in values]
        if name in OURS or values_of == [None]:
            continue
        states = [said(values, name) for values in (before, after) if name in values]
        parts.append(f"{name.replace('_', ' ')} {' to '.join(states)}")
    return ", ".join(parts)
