"""Counts the labelled rows that a retrain could learn from or be judged by, and no Dataset could have learned from yet.

A label of a key without trust counts only up to the caps on what such keys may teach: a thousand of them would else ask
for a retrain that learns from a hundred, and finds nothing to be judged by. Nor does an answer count that somebody only
liked: the live version gives it already, and a thousand of them beside five corrections are five things to learn.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, Protocol

import sqlalchemy as sa

from driftwheel.records.alias_key import AliasKey
from driftwheel.records.by_whom import Event, Feedback, Trust
from driftwheel.records.nouns import Dataset, Traffic
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


ACCEPTED = "accepted"
"""The source of a label that is the answer itself, because of a thumb up."""
NOBODY = (False, "")
DIVISOR = 2**31 - 1
"""A prime: moments are summed up modulo it, because the sum of ten thousand in microseconds is beyond a bigint."""


@dataclass(frozen=True)
class _Asked:
    """What the count depends on."""

    url: str
    key: AliasKey
    since: datetime
    max_rows_per_key: int
    max_unverified_rows: int
    mark: tuple[int, ...]
    ledger: Ledger = field(compare=False)


def fresh_labels(ledger: Ledger, key: AliasKey, since: datetime, caps: Caps) -> int:
    """Count the rows that were labelled since a moment; those that came with their label count from when they came.

    Each trusted label counts, of the others so many as the caps let teach.
    """
    caps_of = (caps.max_rows_per_key, caps.max_unverified_rows)
    return _count(_Asked(ledger.url, key, since, *caps_of, _mark(ledger, key, since), ledger))


def _mark(ledger: Ledger, key: AliasKey, since: datetime) -> tuple[int, ...]:
    """Return what is another one as soon as the count may be another one.

    Whose rows are labelled and when, what was said, and how often anybody took something back, which is an event. The
    indexes hold all of it: to count ten thousand labels itself takes ten thousand rows from everywhere in the log.
    """
    with ledger.read() as connection:
        found = connection.execute(_marks(), {"of": key.project, "by": key.name, "since": since}).all()
    return tuple(int(value) for row in sorted(found) for value in row)


@cache  # a query never changes, and to put it together takes as long as it takes to run
def _marks() -> sa.CompoundSelect[Any]:
    rows, words, events = TABLES[Traffic].c, TABLES[Feedback].c, TABLES[Event].c
    project, name = sa.bindparam("of", type_=sa.Text), sa.bindparam("by", type_=sa.Text)
    since = sa.bindparam("since", type_=rows.created_at.type)
    labelled = (rows.project == project, rows.alias == name, rows.label.is_not(None))
    asked = (
        (rows.feedback_at, (*labelled, rows.feedback_at > since)),
        (rows.created_at, (*labelled, rows.feedback_at.is_(None), rows.created_at > since)),
        (words.created_at, (words.project == project, words.created_at > since)),
        (events.created_at, (events.project == project, events.created_at > since)),
    )
    return sa.union_all(
        *(
            sa.select(sa.literal_column(str(place)), sa.func.count(), _sum_of(moment)).where(*conditions)
            for place, (moment, conditions) in enumerate(asked)
        )
    )


def _sum_of(moment: sa.Column[Any]) -> sa.ColumnElement[int]:
    return sa.func.coalesce(sa.func.sum(sa.type_coerce(moment, sa.BigInteger) % DIVISOR), 0)


@lru_cache(maxsize=8)
def _count(asked: _Asked) -> int:
    ledger, key, since = asked.ledger, asked.key, asked.since
    columns, of = TABLES[Traffic].c, {"project": key.project, "alias": key.name}
    is_more_than_liked = columns.label_source.is_distinct_from(ACCEPTED)
    is_labelled = sa.and_(columns.label.is_not(None), is_more_than_liked, is_answered())  # as a retrain takes them
    # Two counts, because an index can answer each; it cannot answer one over the later of two columns.
    given = ledger.count(Traffic, is_labelled, columns.feedback_at > since, **of)
    came = ledger.count(Traffic, is_labelled, columns.feedback_at.is_(None), columns.created_at > since, **of)
    of_row: dict[str, tuple[bool, str]] = {}
    with ledger.read() as connection:
        for word in connection.execute(_said_since(key, since, is_labelled)).mappings():
            said = (word["trust"] == Trust.TRUSTED, str(word["author"]))
            of_row[word["request_id"]] = max(of_row.get(word["request_id"], NOBODY), said)
    of_author = Counter(author for is_trusted, author in of_row.values() if not is_trusted)
    # A row of which nobody knows who labelled it is one of the author without a name.
    of_author[NOBODY[1]] += max(0, given + came - len(of_row))
    within = sum(min(count, asked.max_rows_per_key) for count in of_author.values())
    trusted = sum(is_trusted for is_trusted, _ in of_row.values())
    return trusted + min(within, asked.max_unverified_rows)


def _said_since(key: AliasKey, since: datetime, is_labelled: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Return the query for each fresh row with who said which answer is right, and how far they are trusted."""
    columns, words = TABLES[Traffic].c, TABLES[Feedback].c
    is_said = sa.and_(words.withdrawn_at.is_(None), words.kind.in_(ANSWERING))
    # From the words to the rows: what was said since is few beside a long history, and an index finds it.
    return (
        sa.select(words.request_id, words.author, words.trust)
        .join(TABLES[Traffic], columns.id == words.request_id)
        .where(words.project == key.project, words.created_at > since, is_said)
        .where(columns.project == key.project, columns.alias == key.name, is_labelled)
    )


def fresh_for_retrain(ledger: Ledger, key: AliasKey, caps: Caps) -> int:
    """Count the labels that a retrain would find beside those that the live version could learn from."""
    version = live_version(ledger, *key)
    since = ledger.get(Dataset, version.dataset_id).created_at if version else datetime.min.replace(tzinfo=UTC)
    return fresh_labels(ledger, key, since, caps)
