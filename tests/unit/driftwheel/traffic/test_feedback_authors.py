"""Feedback has authors: nobody's word is overwritten, everybody's can be taken back, and the most trusted counts."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from driftwheel.errors import ConflictError, DataError, NotFoundError
from driftwheel.identity import utc_now
from driftwheel.records.by_whom import Feedback, FeedbackKind, Trust
from driftwheel.records.nouns import Traffic
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.traffic import feedback
from driftwheel.traffic.feedback import Author, give_feedback, person, withdraw_all, withdraw_feedback, words_about
from driftwheel.traffic.feedback_summary import counted, decided_by, summed_up
from tests.unit.driftwheel.traffic.test_log import ROW

pytestmark = pytest.mark.every_database
WEB, SHOP = Author(id="support/web"), Author(id="support/shop")
CROWD = Author(id="support/crowd", trust=Trust.LABEL)
ADA, BEN = person("Ada"), person("Ben")
START = datetime(2026, 1, 2, tzinfo=UTC)
Give = Callable[..., Traffic]


@pytest.fixture
def give(settings: Settings, ledger: Ledger) -> Give:
    """Say something about the one request, which `support/web` asked."""
    ledger.add(Traffic(**vars(ROW) | {"key_id": WEB.id}))

    def say(author: Author, **words: Any) -> Traffic:
        return give_feedback(settings.traffic, ledger, settings.project, ROW.id, author=author, **words)

    return say


def summary(row: Traffic) -> tuple[int | None, str | None, str | None]:
    return row.thumb, row.label, row.label_source


def test_a_key_judges_its_own_requests_and_others_need_a_scope(give: Give, ledger: Ledger) -> None:
    with pytest.raises(NotFoundError, match=r"no request 'req_1'.* scope `label`"):
        give(SHOP, label="refund")
    assert ledger.count(Feedback) == 0
    assert give(WEB, label="refund").label == "refund"
    assert give(CROWD, label="card").label == "card"


def test_nobodys_word_is_overwritten_and_the_most_trusted_counts(give: Give, ledger: Ledger) -> None:
    give(ADA, label="refund", thumb=-1)
    assert summary(give(WEB, label="card", thumb=1)) == (-1, "refund", "label")
    assert summary(give(CROWD, correction='{"intent":"card"}')) == (-1, "refund", "label")
    words = words_about(ledger, [ROW.id])[ROW.id]
    assert {(w.author, w.kind, w.value) for w in words} == {
        ("person:Ada", "label", "refund"),
        ("person:Ada", "thumb", "-1"),
        ("support/web", "label", "card"),
        ("support/web", "thumb", "1"),
        ("support/crowd", "correction", '{"intent":"card"}'),
    }


def test_right_pressed_by_mistake_leaves_no_accepted_row(give: Give, settings: Settings, ledger: Ledger) -> None:
    assert summary(give(ADA, thumb=1)) == (1, ROW.answer, "accepted")
    assert summary(withdraw_feedback(ledger, settings.project, ROW.id, author=ADA)) == (None, None, None)
    assert ledger.get(Traffic, ROW.id).feedback_at is None
    (word,) = ledger.find(Feedback)
    assert word.withdrawn_at is not None
    assert summary(give(ADA, thumb=1)) == (1, ROW.answer, "accepted")
    assert summary(give(ADA, thumb=-1)) == (-1, None, None)


def test_a_withdrawn_word_gives_its_place_to_the_one_before_it(give: Give, settings: Settings, ledger: Ledger) -> None:
    give(WEB, label="card")
    give(ADA, label="refund", comment="it is about money")
    kinds = [FeedbackKind.LABEL]
    assert withdraw_feedback(ledger, settings.project, ROW.id, author=ADA, kinds=kinds).label == "card"
    assert [w.kind for w in ledger.find(Feedback) if w.withdrawn_at is None and w.author == ADA.id] == ["comment"]


def test_only_the_trusted_take_back_anothers_words(give: Give, settings: Settings, ledger: Ledger) -> None:
    give(ADA, label="refund")
    for author, of in ((WEB, ADA.id), (CROWD, ADA.id), (ADA, WEB.id)):
        with pytest.raises(NotFoundError, match=r"take|nothing"):
            withdraw_feedback(ledger, settings.project, ROW.id, author=author, of=of)
    give(WEB, thumb=1)
    assert withdraw_feedback(ledger, settings.project, ROW.id, author=ADA, of=WEB.id).thumb is None


def test_a_key_in_wrong_hands_is_taken_back_everywhere(give: Give, settings: Settings, ledger: Ledger) -> None:
    ledger.add(Traffic(**vars(ROW) | {"id": "req_2", "key_id": WEB.id}))
    give(WEB, label="spam", thumb=-1)
    give_feedback(settings.traffic, ledger, settings.project, "req_2", author=WEB, correction="spam")
    assert withdraw_all(ledger, settings.project, WEB.id, by=ADA) == 2
    assert {summary(row) for row in ledger.find(Traffic)} == {(None, None, None)}
    assert withdraw_all(ledger, settings.project, WEB.id, by=ADA) == 0


def test_who_says_the_same_twice_has_said_it_once(give: Give, ledger: Ledger) -> None:
    for _ in range(3):
        give(WEB, label="card", comment="hm")
    assert ledger.count(Feedback) == 2
    assert give(WEB, label="refund").label == "refund"
    assert give(WEB, label="card").label == "card"


def test_the_last_word_counts_whatever_was_said_before_it(give: Give, ledger: Ledger) -> None:
    give(ADA, label="refund")
    give(ADA, correction='{"intent":"delivery"}')
    assert summary(give(ADA, label="refund")) == (None, "refund", "label")
    both = {"label": "refund", "correction": '{"intent":"refund"}'}
    for _ in range(3):
        assert give(ADA, **both).label_source == "correction"
    assert ledger.count(Feedback) == 5


def test_a_clock_that_was_set_back_makes_no_later_word_an_earlier_one(
    give: Give, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(ADA, label="card", thumb=1)
    monkeypatch.setattr(feedback, "utc_now", lambda: utc_now() - timedelta(hours=1))
    assert summary(give(ADA, label="refund", thumb=-1)) == (-1, "refund", "label")


def test_a_label_is_stripped_and_a_blank_one_refused(give: Give, ledger: Ledger) -> None:
    assert give(ADA, label=" card\n").label == "card"
    with pytest.raises(DataError, match="blank"):
        give(ADA, label=" \n")
    assert ledger.count(Feedback) == 1


def test_comments_and_signals_move_neither_label_nor_its_moment(give: Give, settings: Settings, ledger: Ledger) -> None:
    at = give(ADA, label="card").feedback_at
    assert give(WEB, signal="copied", comment="hm").feedback_at == at
    ledger.add(Traffic(**vars(ROW) | {"id": "req_2", "label": "card", "label_source": "label"}))
    row = give_feedback(settings.traffic, ledger, settings.project, "req_2", author=ADA, comment="came with its label")
    assert (*summary(row), row.feedback_at) == (None, "card", "label", None)


def test_who_says_again_what_was_said_makes_no_old_label_fresh(give: Give) -> None:
    at = give(WEB, label="card").feedback_at
    vouched = give(ADA, label="card").feedback_at
    assert at is not None
    assert vouched is not None
    assert vouched > at, "now somebody is trusted with it"
    assert give(BEN, label="card").feedback_at == vouched
    assert (give(BEN, label="refund").feedback_at or at) > vouched


def test_nobody_fills_the_ledger_with_words_about_one_answer(
    give: Give, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback, "MOST_WORDS", 4)
    for number in range(4):
        give(WEB, comment=str(number))
    with pytest.raises(ConflictError, match="has said 4 things"):
        give(WEB, thumb=1)
    assert give(ADA, thumb=1).thumb == 1


def test_of_many_who_judge_at_once_every_word_is_kept_and_the_summary_follows(give: Give, ledger: Ledger) -> None:
    authors = [*(Author(id=f"support/{n}", trust=Trust.LABEL) for n in range(7)), ADA]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda author: give(author, thumb=-1 if author == ADA else 1), authors))
    assert ledger.count(Feedback) == 8
    assert ledger.get(Traffic, ROW.id).thumb == -1


def word(
    author: str, kind: str, value: str, minute: int, trust: str = "none", *, is_withdrawn: bool = False
) -> Feedback:
    return Feedback(
        id=f"{author}{minute}{kind}",
        project="support",
        created_at=START + timedelta(minutes=minute),
        request_id="req_1",
        author=author,
        trust=Trust(trust),
        kind=FeedbackKind(kind),
        value=value,
        withdrawn_at=START if is_withdrawn else None,
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], (None, None, None)),
        ([word("a", "thumb", "1", 1), word("a", "thumb", "-1", 2)], (-1, None, None)),
        ([word("a", "thumb", "-1", 1), word("b", "thumb", "1", 2)], (1, "answer", "accepted")),
        ([word("a", "thumb", "-1", 1, "label"), word("b", "thumb", "1", 2)], (-1, None, None)),
        ([word("a", "label", "x", 1, "trusted"), word("b", "label", "y", 2, "label")], (None, "x", "label")),
        ([word("a", "thumb", "1", 1, "trusted"), word("b", "label", "y", 2)], (1, "answer", "accepted")),
        ([word("a", "thumb", "1", 1, "trusted"), word("b", "label", "y", 2, "trusted")], (1, "y", "label")),
        ([word("a", "thumb", "-1", 1, "trusted"), word("b", "label", "y", 2)], (-1, "y", "label")),
        ([word("a", "correction", "x", 1), word("a", "label", "y", 1)], (None, "x", "correction")),
        ([word("a", "correction", "x", 1), word("a", "label", "y", 2)], (None, "y", "label")),
        ([word("a", "label", "x", 1), word("a", "thumb", "1", 2)], (1, "x", "label")),
        ([word("a", "label", "x", 1), word("a", "label", "y", 2, is_withdrawn=True)], (None, "x", "label")),
        ([word("a", "comment", "x", 1), word("a", "signal", "copied", 2)], (None, None, None)),
    ],
)
def test_what_several_words_amount_to(given: list[Feedback], expected: tuple[Any, ...]) -> None:
    for order in (given, given[::-1]):
        found = summed_up("answer", order)
        assert (found.thumb, found.label, found.label_source) == expected


def test_an_author_counts_once_however_often_they_speak() -> None:
    given = [word("a", "thumb", "1", n) for n in range(60)] + [word("b", "thumb", "-1", 5)]
    assert [(w.author, w.value) for w in counted(given, FeedbackKind.THUMB)] == [("a", "1"), ("b", "-1")]


def test_the_label_is_the_word_of_the_most_trusted_who_says_which_answer_is_right() -> None:
    thumb, label = word("a", "thumb", "1", 1, "trusted"), word("b", "label", "y", 2)
    assert decided_by([label, thumb]) == thumb
    assert decided_by([label, word("c", "thumb", "1", 3)]) == label
