"""The outcomes of requests as conditions of a query: `outcomes.outcome_of` for the database."""

from functools import cache

import sqlalchemy as sa

from driftwheel.records.nouns import Traffic
from driftwheel.store.tables import TABLES
from driftwheel.traffic.outcomes import (
    CLIENT_CLOSED_REQUEST,
    CLIENT_ERROR,
    CLIENT_LEFT,
    EMBEDDINGS,
    OK,
    SERVER_ERROR,
    UNWATCHED,
    Outcome,
)

_TRAFFIC = TABLES[Traffic].c


def is_outcome(*outcomes: Outcome) -> sa.ColumnElement[bool]:
    """Return the condition that a row has one of these outcomes."""
    status, error = _TRAFFIC.status_code, sa.func.coalesce(_TRAFFIC.error, "")
    has_left = sa.or_(error == CLIENT_LEFT, status == CLIENT_CLOSED_REQUEST)
    is_whole = sa.and_(sa.not_(has_left), sa.not_(_TRAFFIC.is_partial))
    is_refused = sa.and_(is_whole, status >= CLIENT_ERROR, status < SERVER_ERROR)
    is_answered = sa.and_(is_whole, status == OK)
    conditions = {
        Outcome.LEFT: has_left,
        Outcome.REFUSED: is_refused,
        Outcome.ANSWERED: is_answered,
        Outcome.FAILED: sa.not_(sa.or_(has_left, is_refused, is_answered)),
    }
    return sa.or_(*(conditions[outcome] for outcome in outcomes))


@cache  # a condition never changes, and to put one together takes as long as its query
def is_answered() -> sa.ColumnElement[bool]:
    """Return the condition of a whole answer of the model, in text."""
    return sa.and_(is_outcome(Outcome.ANSWERED), _TRAFFIC.route != EMBEDDINGS)


@cache
def is_observation() -> sa.ColumnElement[bool]:
    """Return the condition of what says something about model or engine: an answer, or its failure."""
    return sa.and_(is_outcome(Outcome.ANSWERED, Outcome.FAILED), _TRAFFIC.route != EMBEDDINGS)


def is_unwatched() -> sa.ColumnElement[bool]:
    """Return the condition of the rows that are neither watched nor learned, because their sender said so."""
    return _TRAFFIC.alias.endswith(UNWATCHED, autoescape=True)
