"""What was said about an answer and taken back since teaches no more, and judges no more."""

from datetime import UTC, datetime

from driftwheel.records.by_whom import FeedbackKind, Trust
from driftwheel.records.nouns import Traffic
from driftwheel.settings.data import DatasetSettings
from driftwheel.store.ledger import Ledger
from driftwheel.text.conversations import said as turn
from driftwheel.traffic.feedback import Author, withdraw_feedback
from tests.support.said import words_of
from tests.support.versions import add_versions, answered_request
from train.data.examples import Example
from train.data.live.withdrawn_rows import WITHDRAWN, without_withdrawn
from train.data.splitting.splits import Splits
from train.data.splitting.tally import Tally

SETTINGS = DatasetSettings(sources=["x"], label_field=None)
DESK = Author(id="support/desk", trust=Trust.TRUSTED)


def request(id: str, label: str, *, answer: str = "refund", source: str = "label") -> Traffic:
    return answered_request(
        id,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        prompt="Where is my card?",
        answer=answer,
        label=label,
        label_source=source,
    )


def log(ledger: Ledger, *requests: Traffic) -> None:
    add_versions(ledger, "v1")
    ledger.add(*requests, *words_of(requests))


def row(id: str, answer: str, *requests: str, references: tuple[str, ...] = ()) -> Example:
    turns = [turn("user", f"Where is my card, {id}?")], [turn("assistant", answer)]
    return Example(id, *turns, answer, id, requests=list(requests), references=list(references))


def splits(*, train: list[Example], test: list[Example]) -> Splits:
    return {"train": train, "validation": [], "test": test}


def left(ledger: Ledger, rows: Splits) -> tuple[dict[str, list[list[str]]], int]:
    tally = Tally()
    kept = without_withdrawn(SETTINGS, ledger, rows, "text", tally)
    return {name: [e.answers for e in found] for name, found in kept.items() if found}, tally.dropped[WITHDRAWN]


def test_a_row_is_gone_from_training_and_from_judging_once_its_word_is_taken_back(ledger: Ledger) -> None:
    log(ledger, request("r1", "card"), request("r2", "card"), request("r3", "card"), request("r4", "card"))
    rows = splits(
        train=[row("a", "card", "r1"), row("b", "card", "r2"), row("file", "card")], test=[row("c", "card", "r3")]
    )
    assert left(ledger, rows)[1] == 0
    for taken in ("r1", "r3"):
        withdraw_feedback(ledger, "support", taken, author=DESK, of=DESK.id)
    assert left(ledger, rows) == ({"train": [["card"], ["card"]]}, 2)


def test_a_row_stays_while_one_of_its_requests_says_so(ledger: Ledger) -> None:
    log(ledger, request("r1", "card"), request("r2", "card"))
    rows = splits(train=[row("a", "card", "r1", "r2")], test=[])
    withdraw_feedback(ledger, "support", "r1", author=DESK, of=DESK.id)
    assert left(ledger, rows) == ({"train": [["card"]]}, 0)
    withdraw_feedback(ledger, "support", "r2", author=DESK, of=DESK.id)
    assert left(ledger, rows) == ({}, 1)


def test_of_several_right_answers_only_the_one_that_was_taken_back_is_gone(ledger: Ledger) -> None:
    log(ledger, request("r1", "a first text", source="correction"), request("r2", "another", source="correction"))
    rows = splits(train=[], test=[row("a", "a first text", "r1", "r2", references=("another",))])
    withdraw_feedback(ledger, "support", "r1", author=DESK, of=DESK.id)
    assert left(ledger, rows) == ({"test": [["another"]]}, 0)


def test_who_said_something_else_since_has_taken_back_what_he_said_before(ledger: Ledger) -> None:
    first = request("r1", "card")
    log(ledger, first)
    ledger.add(*words_of([first], author="support/other"))
    rows = splits(train=[row("a", "card", "r1")], test=[])
    withdraw_feedback(ledger, "support", "r1", author=DESK, of=DESK.id)
    assert left(ledger, rows) == ({"train": [["card"]]}, 0), "another author stands by it"


def test_a_taken_back_thumb_takes_the_accepted_answer_with_it(ledger: Ledger) -> None:
    accepted = request("r1", "refund", source="accepted")
    log(ledger, accepted)
    assert [word.kind for word in words_of([accepted])] == [FeedbackKind.THUMB]
    rows = splits(train=[row("a", "refund", "r1")], test=[])
    withdraw_feedback(ledger, "support", "r1", author=DESK, of=DESK.id)
    assert left(ledger, rows) == ({}, 1)


def test_a_request_that_was_deleted_vouches_for_nothing(ledger: Ledger) -> None:
    log(ledger, request("r1", "card"))
    rows = splits(train=[row("a", "card", "r1", "deleted"), row("b", "card", "deleted")], test=[])
    withdraw_feedback(ledger, "support", "r1", author=DESK, of=DESK.id)
    assert left(ledger, rows) == ({"train": [["card"]]}, 1), "but nobody took back what it alone said"
