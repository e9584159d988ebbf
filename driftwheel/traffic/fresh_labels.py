"""Counts the labelled rows that a retrain could learn from or be judged by, and no Dataset could have learned from yet.

A label of a key without trust counts only up to the caps on what such keys may teach: a thousand of them would else ask
for a retrain that learns from a hundred, and finds nothing to be judged by.
"""

from datetime import UTC, datetime
from typing import Protocol

import sqlalchemy as sa

from driftwheel.alias_key import AliasKey
from driftwheel.by_whom import Feedback, FeedbackKind, Trust
from driftwheel.records import Dataset, Traffic
from driftwheel.settings.data import DatasetSettings
from driftwheel.store.alias import live_version
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.traffic.feedback_summary import ANSWERING
from driftwheel.traffic.outcome_query import is_answered


class Caps(Protocol):
    """How much keys without trust may teach."""

    @property
    def max_rows_per_key(self) -> int: ...
    @property
    def max_unverified_rows(self) -> int: ...


class _Shipped:
    max_rows_per_key: int = DatasetSettings.model_fields["max_rows_per_key"].default
    max_unverified_rows: int = DatasetSettings.model_fields["max_unverified_rows"].default


SHIPPED: Caps = _Shipped()
"""The caps of a loop that has set none."""


def fresh_labels(ledger: Ledger, key: AliasKey, since: datetime, caps: Caps = SHIPPED) -> int:
    """Count the rows that were labelled since a moment; those that came with their label count from when they came.

    Each trusted label counts, of the others so many as the caps let teach.
    """
    fresh, words, trusted = _fresh(key, since), TABLES[Feedback].alias("word"), TABLES[Feedback].alias("trusted")
    is_verified = sa.exists().where(_is_said(fresh, trusted), trusted.c.trust == Trust.TRUSTED)
    verified = sa.select(sa.func.count()).select_from(fresh).where(is_verified)
    # A row of which nobody knows who labelled it is one of the author without a name.
    by_author = (
        sa.select(sa.func.count(sa.distinct(fresh.c.id)))
        .select_from(fresh.outerjoin(words, _is_said(fresh, words)))
        .where(~is_verified)
        .group_by(words.c.author)
    )
    with ledger.read() as connection:
        all_rows = int(connection.execute(sa.select(sa.func.count()).select_from(fresh)).scalar_one())
        of_trusted = int(connection.execute(verified).scalar_one())
        of_authors = [int(count) for count in connection.execute(by_author).scalars()]
    within = sum(min(count, caps.max_rows_per_key) for count in of_authors)
    # Of a row that several authors labelled one counts.
    return of_trusted + min(all_rows - of_trusted, within, caps.max_unverified_rows)


def _is_said(fresh: sa.Subquery, words: sa.FromClause) -> sa.ColumnElement[bool]:
    """Return the condition that somebody said which answer to a request is right, and has not taken it back."""
    is_thumb_up = sa.and_(words.c.kind == FeedbackKind.THUMB, words.c.value == "1")
    is_answering = sa.or_(words.c.kind.in_(ANSWERING), is_thumb_up)
    return sa.and_(words.c.request_id == fresh.c.id, words.c.withdrawn_at.is_(None), is_answering)


def _fresh(key: AliasKey, since: datetime) -> sa.Subquery:
    columns = TABLES[Traffic].c
    is_ours = sa.and_(columns.project == key.project, columns.alias == key.name)
    is_labelled = sa.and_(is_ours, columns.label.is_not(None), is_answered())  # as a retrain takes them
    # Two queries, because an index can answer each; it cannot answer one over the later of two columns.
    given = sa.select(columns.id).where(is_labelled, columns.feedback_at > since)
    came = sa.select(columns.id).where(is_labelled, columns.feedback_at.is_(None), columns.created_at > since)
    return sa.union_all(given, came).subquery("fresh")


def fresh_for_retrain(ledger: Ledger, key: AliasKey, caps: Caps = SHIPPED) -> int:
    """Count the labels that a retrain would find beside those that the live version could learn from."""
    version = live_version(ledger, *key)
    since = ledger.get(Dataset, version.dataset_id).created_at if version else datetime.min.replace(tzinfo=UTC)
    return fresh_labels(ledger, key, since, caps)
