"""Faults do to a question what their name says, and the drop is paired; the endpoint is in test_evaluate.py."""

import random
from collections import Counter

import pytest

from driftwheel.evidence.intervals import paired_interval, share_interval
from driftwheel.records.predictions import Prediction
from train.evaluation.robustness import FAULTS, _entry

QUESTION = "Where, please, is my parcel? It's two days late!"


@pytest.mark.parametrize(
    ("kind", "text", "faulty"),
    [
        pytest.param("casing", QUESTION, QUESTION.lower(), id="all small"),
        pytest.param("casing", "where", "WHERE", id="small already"),
        pytest.param("punctuation", QUESTION, "Where please is my parcel Its two days late", id="no marks"),
        pytest.param("punctuation", "¿qué? 「はい」", "qué はい", id="marks of any script"),
        pytest.param("word_order", "first second", "second first", id="two words"),
        pytest.param("word_order", "alone", "alone", id="one word has no neighbor"),
        pytest.param("typos", "to be or", "to be or", id="short words stay"),
    ],
)
def test_a_fault_is_what_it_is_called(kind: str, text: str, faulty: str) -> None:
    assert FAULTS[kind](text, random.Random(0)) == faulty


@pytest.mark.parametrize("seed", range(20))
def test_typos_hit_a_fifth_of_the_words_and_leave_the_rest(seed: int) -> None:
    found = FAULTS["typos"](QUESTION, random.Random(seed)).split(" ")
    changed = [(old, new) for old, new in zip(QUESTION.split(" "), found, strict=True) if old != new]
    assert 1 <= len(changed) <= 2
    assert all(abs(len(old) - len(new)) <= 1 for old, new in changed)


@pytest.mark.parametrize("seed", range(5))
def test_word_order_keeps_every_word(seed: int) -> None:
    found = FAULTS["word_order"](QUESTION, random.Random(seed))
    assert found != QUESTION
    assert Counter(found.split(" ")) == Counter(QUESTION.split(" "))


def scored(number: int, *, is_correct: bool) -> Prediction:
    return Prediction(
        id=str(number),
        slice="old",
        prompt="q",
        expected="a",
        answer="a" if is_correct else "b",
        label="a",
        predicted="a" if is_correct else "b",
        is_correct=is_correct,
        latency_seconds=0.1,
        mean_logprob=None,
    )


def test_the_drop_counts_lost_answers_against_gained_ones() -> None:
    outcomes = [(True, True)] * 12 + [(True, False)] * 6 + [(False, True)] * 1 + [(False, False)] * 1
    found = _entry([(scored(n, is_correct=a), scored(n, is_correct=b)) for n, (a, b) in enumerate(outcomes)])
    assert (found.items, found.accuracy_before, found.accuracy) == (20, 0.9, 0.65)
    assert found.drop == pytest.approx(0.25)
    assert found.drop_interval == paired_interval(6, 1, 20)
    assert found.drop_interval is not None
    assert found.drop_interval[0] < 0.25 < found.drop_interval[1]
    assert found.same_answer == 13 / 20
    assert found.accuracy_interval == share_interval(13, 20)
