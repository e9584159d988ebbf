"""Counts the labelled rows that no Dataset could have learned from yet."""

from datetime import UTC, datetime

import sqlalchemy as sa

from driftwheel.alias_key import AliasKey
from driftwheel.records import Dataset, Traffic
from driftwheel.store.alias import live_version
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.traffic.outcome_query import is_answered


def fresh_labels(ledger: Ledger, key: AliasKey, since: datetime) -> int:
    """Count the rows that were labelled since a moment; those that came with their label count from when they came."""
    columns, of = TABLES[Traffic].c, {"project": key.project, "alias": key.name}
    is_labelled = sa.and_(columns.label.is_not(None), is_answered())  # as a retrain takes them
    # Two counts, because an index can answer each; it cannot answer one over the later of two columns.
    given = ledger.count(Traffic, is_labelled, columns.feedback_at > since, **of)
    came = ledger.count(Traffic, is_labelled, columns.feedback_at.is_(None), columns.created_at > since, **of)
    return given + came


def fresh_for_retrain(ledger: Ledger, key: AliasKey) -> int:
    """Count the labels that a retrain would find beside those that the live version could learn from."""
    version = live_version(ledger, *key)
    since = ledger.get(Dataset, version.dataset_id).created_at if version else datetime.min.replace(tzinfo=UTC)
    return fresh_labels(ledger, key, since)
