"""Bounds how much readier authors were to label wrong answers than right ones, by the answers that they left out.

Whoever labels where the model was wrong makes it look worse than it is, and a candidate that is no better, but wrong
elsewhere, seems to win. Nobody knows which of the answers without a label are right. At worst all of them are: then of
the right ones only `right / (right + missing)` were labelled, and of the wrong ones all. The gate reckons with that.
"""

from collections.abc import Sequence

import sqlalchemy as sa

from driftwheel.records.alias_key import AliasKey
from driftwheel.records.by_whom import PERSON
from driftwheel.records.nouns import Traffic
from driftwheel.settings.data import DatasetSettings
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.traffic.outcome_query import is_answered
from train.data.live.traffic_rows import LabelledRow


def most_label_odds(settings: DatasetSettings, ledger: Ledger, key: AliasKey, rows: Sequence[LabelledRow]) -> float:
    """Return how many times as likely a wrong answer was labelled as a right one, at most; 1 if all answers were.

    `rows` are those of authors whose labels judge. What people at the dashboard label was put before them by its queue,
    which knows no right answer; what a key labels it has chosen by itself.
    """
    if settings.trusted_labels == "sampled":
        return 1.0
    by_author: dict[str, list[LabelledRow]] = {}
    for row in rows:
        if not row.author.startswith(PERSON):
            by_author.setdefault(row.author, []).append(row)
    return max((_odds_of(ledger, key, author, own) for author, own in by_author.items()), default=1.0)


def label_odds(right: int, missing: int) -> float:
    """Return the odds if of the right answers so many were labelled, and all those without a label are right."""
    return (right + missing) / max(1, right)


def _odds_of(ledger: Ledger, key: AliasKey, author: str, rows: Sequence[LabelledRow]) -> float:
    """Return the odds of one author, among all that was answered from the first request that it labelled to the last.

    Later ones may still get their labels. Where a key labels nothing but its own requests, only these count.
    """
    columns, moments = TABLES[Traffic].c, [row.asked_at for row in rows if row.asked_at is not None]
    if not moments:
        return 1.0
    conditions: list[sa.ColumnElement[bool]] = [
        is_answered(),
        columns.label.is_(None),
        columns.created_at.between(min(moments), max(moments)),
    ]
    if all(row.asked_by == author for row in rows):
        conditions.append(columns.key_id == author)
    missing = ledger.count(Traffic, *conditions, project=key.project, alias=key.name)
    return label_odds(sum(row.confirms for row in rows), missing)
