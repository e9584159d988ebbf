"""A retrain waits for labels that may teach or judge; those over the caps on keys without trust count for nothing."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from driftwheel.identity import utc_now
from driftwheel.records.by_whom import Trust
from driftwheel.records.nouns import Traffic
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.feedback import Author, give_feedback, person
from driftwheel.traffic.fresh_labels import fresh_for_retrain, fresh_labels
from tests.support.said import words_of
from tests.unit.driftwheel.traffic.test_log import ROW

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Few:
    """Caps of two rows for each key, and of three in all."""

    max_rows_per_key: int = 2
    max_unverified_rows: int = 3


def label(ledger: Ledger, count: int, author: str | None, trust: Trust = Trust.NONE) -> list[Traffic]:
    """Add labelled requests, and who labelled them; None for a label that came with its row."""
    made = [
        replace(
            ROW,
            id=f"req_{author}_{n}",
            label="card",
            label_source="label",
            created_at=utc_now(),
            feedback_at=None if author is None else utc_now(),
        )
        for n in range(count)
    ]
    ledger.add(*made, *(words_of(made, author=author, trust=trust) if author else []))
    return made


@pytest.mark.every_database
def test_labels_of_keys_without_trust_count_up_to_the_caps_and_trusted_ones_all(
    settings: Settings, ledger: Ledger
) -> None:
    """A thousand corrections of one key asked for a retrain that nobody could have judged."""
    key = settings.alias_key
    label(ledger, 5, "support/evil")
    assert fresh_for_retrain(ledger, key, Few()) == 2
    label(ledger, 5, "support/crowd", Trust.LABEL)
    assert fresh_for_retrain(ledger, key, Few()) == 3
    label(ledger, 5, None)
    assert fresh_for_retrain(ledger, key, Few()) == 3
    label(ledger, 7, "support/desk", Trust.TRUSTED)
    assert fresh_for_retrain(ledger, key, Few()) == 3 + 7
    assert fresh_for_retrain(ledger, key, caps=settings.dataset) == 15 + 7, "the shipped caps are wider"
    assert fresh_labels(ledger, key, utc_now() + timedelta(hours=1), Few()) == 0


def test_a_label_that_a_person_vouched_for_counts_and_a_withdrawn_one_does_not(
    settings: Settings, ledger: Ledger
) -> None:
    rows = label(ledger, 4, "support/evil")
    key = settings.alias_key
    assert fresh_for_retrain(ledger, key, Few()) == 2
    for row in rows:
        give_feedback(settings.traffic, ledger, "support", row.id, author=person("Ann"), label="card")
    assert fresh_for_retrain(ledger, key, Few()) == 4
    two = Author(id="support/two", trust=Trust.LABEL)
    give_feedback(settings.traffic, ledger, "support", rows[0].id, author=two, label="loan")
    assert fresh_for_retrain(ledger, key, Few()) == 4, "one request is one row, however many speak of it"


@pytest.mark.every_database
def test_answers_that_were_only_liked_are_nothing_new_to_learn(settings: Settings, ledger: Ledger) -> None:
    """A thousand likes beside five corrections began a retrain that had five things to learn."""
    desk = Author(id="support/desk", trust=Trust.TRUSTED)
    rows = [replace(ROW, id=f"req_{n}", created_at=utc_now()) for n in range(4)]
    ledger.add(*rows)
    for row in rows:
        give_feedback(settings.traffic, ledger, "support", row.id, author=desk, thumb=1)
    assert {row.label_source for row in ledger.find(Traffic)} == {"accepted"}
    assert fresh_for_retrain(ledger, settings.alias_key, Few()) == 0
    give_feedback(settings.traffic, ledger, "support", rows[0].id, author=desk, correction="loan")
    assert fresh_for_retrain(ledger, settings.alias_key, Few()) == 1
