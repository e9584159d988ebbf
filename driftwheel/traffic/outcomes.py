"""What became of a logged request: answered, refused, left or failed. The one definition, for every stage.

Only an answered request says what the model answers, and is learned from and compared. A refused one says what the
client asked wrongly: a prompt that is too long, an unknown parameter, a key that is used up. A client that left says
nothing at all. A failed one is the engine's doing, which the monitor counts. A row exists only where an engine was
asked; what the gateway itself refuses is in its metrics.
"""

from enum import StrEnum
from typing import Protocol

OK, CLIENT_ERROR, SERVER_ERROR = 200, 400, 500
CLIENT_CLOSED_REQUEST = 499
"""nginx's number for a client that left before its answer; no standard has one."""
CLIENT_LEFT = "the client left before the answer ended"
"""The error of a row whose client did so after the answer had begun, or while its row was written."""
EMBEDDINGS = "/v1/embeddings"
"""The route whose answers are no text: there is nothing in them to watch."""
UNWATCHED = "@unwatched"
"""Ends the alias of rows that are neither watched nor learned; no alias may hold an @, so nobody reads them as its."""


class Outcome(StrEnum):
    """What became of a request."""

    ANSWERED = "answered"  # whole
    REFUSED = "refused"  # by the engine, for what was asked (4xx)
    LEFT = "left"  # by the client, before the end
    FAILED = "failed"  # by the engine, or cut off


class Fate(Protocol):
    """The columns of a row that tell its outcome."""

    @property
    def status_code(self) -> int: ...
    @property
    def is_partial(self) -> bool: ...
    @property
    def error(self) -> str | None: ...


def outcome_of(row: Fate) -> Outcome:
    """Return what became of a logged request; `outcome_query.is_outcome` says the same to the database."""
    if row.error == CLIENT_LEFT or row.status_code == CLIENT_CLOSED_REQUEST:
        return Outcome.LEFT
    if row.is_partial:
        return Outcome.FAILED
    if CLIENT_ERROR <= row.status_code < SERVER_ERROR:
        return Outcome.REFUSED
    return Outcome.ANSWERED if row.status_code == OK else Outcome.FAILED
