"""Writes down which settings are others than at the last start: a change of the file has its place in history."""

import json
import re
from collections.abc import Iterator, Mapping

from driftwheel.records.by_whom import Action, Cause, Event
from driftwheel.store.events import note_with
from driftwheel.store.ledger import Ledger

SEEN = "settings"
"""The switch with the settings of the last start, as JSON."""
_PASSWORD = re.compile(r"(?<=://)[^/?#\s]*@")
"""Of a URL: what stands before the host is nobody's business."""


def note_changed_settings(settings: Mapping[str, object], ledger: Ledger, project: str, by: Cause) -> Event | None:
    """Compare the settings with those of the last start, keep them, and return the event of the change, if any.

    A key that one of the two does not have is given as None. Passwords of URLs are neither kept nor compared.
    """
    now = dict(_flat(settings))
    seen = ledger.switch(project, SEEN)
    if seen == (text := json.dumps(now, sort_keys=True)):
        return None
    before: dict[str, object] = json.loads(seen or text)
    keys = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    with ledger.write() as connection:
        ledger.set_switch_with(connection, project, SEEN, text)
        if not keys:
            return None
        changed = {"before": {k: before.get(k) for k in keys}, "after": {k: now.get(k) for k in keys}}
        return note_with(ledger, connection, by, Action.CHANGE_SETTINGS, project, "settings", **changed)


def _flat(settings: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _without_password(value)


def _without_password(value: object) -> object:
    if isinstance(value, str):
        return _PASSWORD.sub("***@", value)
    return [_without_password(member) for member in value] if isinstance(value, list) else value
