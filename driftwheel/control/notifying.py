"""Tells people what happened to a loop: by webhook, Slack, Mattermost, e-mail or whatever else Apprise can reach.

The addresses are Apprise's URLs, such as `slack://...`, `mailtos://user:password@host` or `json://host/path`, with
spaces between. They hold passwords, so they are no setting: they come from the environment (DRIFTWHEEL_NOTIFY).

An event is told at least once: who was told is written down after they were, so that a process that dies in between
tells it again.
"""

import importlib.util
import json
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa

from driftwheel.errors import ConfigError
from driftwheel.identity import utc_now
from driftwheel.machine.child_secrets import NOTIFY_ADDRESSES
from driftwheel.records.by_whom import Action, Event, process
from driftwheel.store.events import events_of, note_with
from driftwheel.store.ledger import Ledger

MARK = "notified"
"""The switch that says up to where events were told."""
LONGEST_LOOK_BACK = timedelta(hours=1)
"""Without news the mark is moved once in so long: a look every few seconds need not write."""
OVERLAP = timedelta(minutes=5)
"""An event gets its time before its transaction ends: one of a slow transaction is seen after later ones."""
TRIES, WAIT_SECONDS = 3, 2.0
TITLES = {
    Action.ALARM: "Drift alarm",
    Action.ASK_RETRAIN: "A retrain was asked for",
    Action.END_RETRAIN: "A retrain ended",
    Action.REFUSE_SWAP: "The gateway refused a version",
    Action.HOLD_CANARY: "A canary waits for a person",
    Action.ABORT_CANARY: "A canary was taken back",
    Action.SWAP: "Another version answers now",
}
"""What people are told of."""
LONGEST = 500


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What became of one message to one address."""

    to: str
    """The address without its passwords."""
    problem: str | None = None
    """Why it did not arrive; None where it did."""


def addresses(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return the addresses that the environment holds."""
    return tuple((os.environ if environ is None else environ).get(NOTIFY_ADDRESSES, "").split())


def send(to: Sequence[str], title: str, text: str, *, tries: int = TRIES) -> list[Delivery]:
    """Send a message to every address at once, each tried anew a few times; a problem is part of what is returned.

    Raises ConfigError where Apprise is not installed.
    """
    if not to:
        return []
    _ask_for_apprise()
    with ThreadPoolExecutor(len(to)) as pool:
        return list(pool.map(lambda address: _send(address, title, text, tries), to))


def _send(address: str, title: str, text: str, tries: int) -> Delivery:
    import apprise  # only here: it takes a second to import, and most verbs tell nobody

    channel = apprise.Apprise()
    if not channel.add(address):
        return Delivery(to=_hidden(address), problem="this is no address that Apprise knows")
    name = _name(channel)
    for number in range(tries):
        if number:
            time.sleep(WAIT_SECONDS * number)
        if channel.notify(title=title, body=text):
            return Delivery(to=name)
    return Delivery(to=name, problem=f"it was not taken, in {tries} tries")


def shown(address: str) -> str:
    """Return what may be shown of an address: without its passwords, or its scheme alone where it is none."""
    _ask_for_apprise()
    import apprise

    channel = apprise.Apprise()
    return _name(channel) if channel.add(address) else _hidden(address)


def _name(channel: Any) -> str:
    return str(channel[0].url(privacy=True)).partition("?")[0]


def _hidden(address: str) -> str:
    return f"{urlsplit(address).scheme}://..." if "://" in address else "an address without ://"


def _ask_for_apprise() -> None:
    if importlib.util.find_spec("apprise") is None:
        raise ConfigError("notifications need Apprise: pip install -e '.[notify]'")


def tell_new(ledger: Ledger, project: str, to: Sequence[str], now: datetime | None = None) -> list[Event]:
    """Tell of each new event, the oldest first, and write down who was told; return the events that were told.

    At the first look nothing is new: what happened before anybody asked to be told is history.
    """
    at = now or utc_now()
    mark = json.loads(ledger.switch(project, MARK) or "{}")
    if not mark:
        ledger.set_switch(project, MARK, _mark(at, []))
        return []
    since, told = datetime.fromisoformat(mark["at"]), list(mark["told"])
    if since > at:  # the clock was set back, and what has happened since then is dated before the mark
        since = at - LONGEST_LOOK_BACK
    recent = events_of(ledger, project, actions=list(TITLES), since=since)
    new = _untold(ledger, project, [event for event in reversed(recent) if event.id not in told])
    for event in new:
        deliveries = send(to, f"{project}: {TITLES[event.action]}", message(event))
        told.append(event.id)
        with ledger.write() as connection:
            ledger.set_switch_with(connection, project, MARK, _mark(since, told))
            _note(ledger, connection, project, event, deliveries)
    settled = max(since, at - OVERLAP)
    if new or settled - since > LONGEST_LOOK_BACK:
        ledger.set_switch(project, MARK, _mark(settled, [e.id for e in recent if e.created_at >= settled]))
    return new


def _untold(ledger: Ledger, project: str, events: Sequence[Event]) -> list[Event]:
    """Return the events of which no event says that they were told."""
    ids = [event.id for event in events]
    notes = ledger.find(Event, project=project, action=Action.NOTIFY, object_id=ids) if ids else []
    told = {note.object_id for note in notes}
    return [event for event in events if event.id not in told]


def _mark(since: datetime, told: Sequence[str]) -> str:
    """Return the mark: events before `since` were told, and of those after it the named ones."""
    return json.dumps({"at": since.isoformat(), "told": list(told)})


def _note(
    ledger: Ledger, connection: sa.Connection, project: str, event: Event, deliveries: Sequence[Delivery]
) -> None:
    told = [delivery.to for delivery in deliveries if delivery.problem is None]
    failed = {delivery.to: delivery.problem for delivery in deliveries if delivery.problem is not None}
    after: dict[str, object] = {"told": told} | ({"not_reached": failed} if failed else {})
    note_with(ledger, connection, process("notifier"), Action.NOTIFY, project, event.id, after=after)


def message(event: Event) -> str:
    """Return what people are told of an event: nothing that a user of the model wrote is in it."""
    known = ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in event.after.items() if value is not None)
    lines = [f"{event.object_id}", known, event.reason, f"{event.created_at:%Y-%m-%d %H:%M:%S} UTC, by {event.actor}"]
    return "\n".join(line[:LONGEST] for line in [*lines, "Look: driftwheel status"] if line)


def send_test(project: str, to: Sequence[str]) -> list[Delivery]:
    """Send a message that says that it is a test; raises ConfigError where there is no address."""
    if not to:
        raise ConfigError(
            f"nobody is told of anything yet: put addresses into {NOTIFY_ADDRESSES}, such as "
            "`slack://...`, `mailtos://user:password@host` or `json://host/path`, with spaces between"
        )
    return send(to, f"{project}: a test", "This is a test: notifications of this loop arrive here.", tries=1)
