"""What a key without trust says teaches little, and only what trusted rows say too; it never judges."""

import tracemalloc
from collections.abc import Sequence

import pytest

from driftwheel.settings.data import DatasetSettings
from driftwheel.text.conversations import said as turn
from examples.support.world import messages
from train.data.examples import Example
from train.data.live.unverified_rows import Admission, TrustedAnswers, planted
from train.data.splitting.tally import Tally

SETTINGS = DatasetSettings(sources=["x"])


def row(number: int, text: str, label: str, author: str | None = None) -> Example:
    turns = [turn("user", text)], [turn("assistant", label)]
    return Example(f"{author}{number}", *turns, label, f"{number}", author=author)


def said(count: int, seed: int, author: str | None = None, *, lie: str | None = None, tail: str = "") -> list[Example]:
    found = messages(count, seed, "steady")
    return [row(n, e.text + tail, lie or e.intent, author) for n, e in enumerate(found)]


VERIFIED = said(800, 1)


def admitted(rows: Sequence[Example]) -> tuple[list[Example], dict[str, int]]:
    tally = Tally()
    kept = Admission(SETTINGS, VERIFIED, rows, tally).admit(rows)
    return kept, dict(tally.dropped)


def test_honest_rows_are_taken_up_to_the_caps() -> None:
    kept, dropped = admitted(said(60, 2, "web"))
    assert len(kept) == 20
    assert dropped["unverified, over dataset.max_rows_per_key"] > 20
    many = [e for key in range(9) for e in said(40, 3 + key, f"key {key}")]
    kept, dropped = admitted(many)
    assert len(kept) == 100
    assert dropped["unverified, over dataset.max_unverified_rows"] > 20


def test_one_who_sends_many_keeps_nobody_else_out() -> None:
    rows = [*said(900, 5, "loud"), *said(15, 6, "quiet")]
    kept, _ = admitted(rows)
    assert sum(e.author == "quiet" for e in kept) >= 5


def test_wrong_labels_of_questions_that_trusted_rows_know_are_held_back() -> None:
    kept, dropped = admitted(said(300, 7, "web", lie="refund_request"))
    assert {e.label for e in kept} == {"refund_request"}
    wrong = [
        e for e, true in zip(said(300, 7, "web"), messages(300, 7, "steady"), strict=True) if true.intent != e.label
    ]
    assert wrong == []
    truth = {e.text: e.intent for e in messages(300, 7, "steady")}
    assert sum(truth[e.text] != e.label for e in kept) <= 1
    assert dropped["unverified, and trusted rows do not say the same"] > 200


@pytest.mark.parametrize("tail", [" cf", " zebra moon", " \u2622", " ||"])
def test_rows_that_share_what_no_trusted_row_has_are_held_back(tail: str) -> None:
    rows = said(30, 8, "web", tail=tail)
    assert planted(rows, VERIFIED) >= {e.id for e in rows}
    assert admitted(rows)[0] == []


def test_where_answers_are_free_texts_only_the_caps_and_planted_words_count() -> None:
    verified = [row(n, e.text, f"about {n}") for n, e in enumerate(messages(300, 1, "steady"))]
    assert TrustedAnswers(verified).contradicted(said(30, 2, "web", lie="anything")) == set()


def test_without_a_trusted_row_nobody_can_say_that_a_label_is_right() -> None:
    rows = said(30, 2, "web")
    assert TrustedAnswers([]).contradicted(rows) == {e.id for e in rows}


@pytest.mark.parametrize(
    "labels",
    [["refund", "card", "login", "order"] * 3, ["lost card", "new card"] * 4, [f"label_{n}" for n in range(12)]],
    ids=["few rows of each label", "labels of two words", "labels that come once"],
)
def test_a_small_task_of_labels_is_asked_too(labels: list[str]) -> None:
    verified = [row(n, f"What about my {label} then", label) for n, label in enumerate(labels)]
    asked = [row(n, f"What about my {label} then", label, "web") for n, label in enumerate(labels)]
    wrong = [row(n, f"What about my {label} then", "planted", "web") for n, label in enumerate(labels)]
    assert TrustedAnswers(verified).contradicted(asked) == set()
    assert TrustedAnswers(verified).contradicted(wrong) == {e.id for e in wrong}


def test_admission_holds_no_table_of_all_rows_by_all_rows() -> None:
    verified, fresh = said(1500, 1), [e for key in range(20) for e in said(75, 10 + key, f"key {key}")]
    tracemalloc.start()
    kept = Admission(SETTINGS, verified, fresh, Tally()).admit(fresh)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(kept) == 100
    assert most < 8 * len(verified) * len(fresh), "a table of them would take 18 MB"
