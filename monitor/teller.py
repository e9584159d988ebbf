"""Tells people of new events while the monitor runs, in a thread of its own."""

import threading
from collections.abc import Sequence

import structlog

from driftwheel.control.notifying import tell_new
from driftwheel.store.ledger import Ledger

LOOK_SECONDS = 5.0
log = structlog.get_logger()


def tell_until(ledger: Ledger, project: str, to: Sequence[str], stop: threading.Event) -> None:
    """Tell of each new event until told to stop; without addresses there is nothing to do."""
    while to and not stop.is_set():
        try:
            for event in tell_new(ledger, project, to):
                log.info("told of an event", event=event.id, action=event.action)
        # Whatever it is: who cannot be told of one event is told of the next.
        except Exception:
            log.exception("people could not be told")
        stop.wait(LOOK_SECONDS)
