"""Every metric against numbers worked out by hand."""

from dataclasses import replace

import pytest

from driftwheel.records.predictions import Prediction
from driftwheel.records.scorecard import SliceScore
from driftwheel.text.grades import token_f1
from train.evaluation.label_scores import OTHER
from train.evaluation.scores import detect_task, grade_answer, percentile, perplexity, score
from train.evaluation.text_scores import text_scores, tokenizer_for


def item(number: int, expected: str, answer: str, label: str | None = None, predicted: str | None = None) -> Prediction:
    return Prediction(
        id=f"row-{number}",
        slice="new" if number % 2 else "old",
        prompt="question",
        expected=expected,
        answer=answer,
        label=label,
        predicted=predicted,
        is_correct=predicted == label if label is not None else answer == expected,
        latency_seconds=number / 10,
        mean_logprob=-0.1,
    )


@pytest.mark.parametrize(
    ("expected", "answer", "label", "field", "found"),
    [
        pytest.param('{"i":"a","u":1}', '{"i":"a","u":2}', "a", "i", ("a", True), id="label counts, not the rest"),
        pytest.param('{"i":"a"}', '{"i":"b"}', "a", "i", ("b", False), id="wrong label"),
        pytest.param('{"i":"a"}', "a", "a", "i", (None, False), id="answer without the object"),
        pytest.param("refund", " refund\n", "refund", None, ("refund", True), id="whole answer is the label"),
        pytest.param("Dear sir", "Dear sir ", None, None, ("Dear sir", True), id="text is compared exactly"),
        pytest.param("Dear sir", "dear sir", None, None, ("dear sir", False), id="another letter is another text"),
    ],
)
def test_an_answer_is_right_by_its_label(
    expected: str, answer: str, label: str | None, field: str | None, found: tuple[str | None, bool]
) -> None:
    assert grade_answer(expected, answer, label, field) == found


@pytest.mark.parametrize(
    ("expected", "task"),
    [
        pytest.param(['{"a":1}', '{"a":2}', '{"b":1}'], "json", id="objects"),
        pytest.param(["refund", "card", "refund ", "card"], "labels", id="few distinct answers"),
        pytest.param(["a long letter", "another letter", "a third"], "text", id="all different"),
        pytest.param(["[1]", "[2]"], "text", id="JSON that is no object"),
        pytest.param([*(f'{{"a": {n}}}' for n in range(39)), "none"], "json", id="objects, and one odd answer"),
    ],
)
def test_the_task_is_seen_from_the_answers(expected: list[str], task: str) -> None:
    assert detect_task(expected) == task


def test_one_odd_answer_leaves_the_others_their_scores_as_objects() -> None:
    objects = [item(n, f'{{"a": {n}}}', f'{{ "a": {n} }}') for n in range(39)]
    card = score([*objects, item(39, "none", "none")], "json")
    assert (card.json_validity, card.intervals["object_match"]) == (1.0, card.intervals["json_validity"])
    assert card.fields is not None
    assert card.fields["a"].items == 39


def test_label_scores_are_those_of_the_confusion_matrix() -> None:
    guesses = [("a", "a"), ("a", "a"), ("a", "b"), ("b", "b"), ("b", "made up"), ("c", None)]
    found = score([item(n, t, p or "", t, p) for n, (t, p) in enumerate(guesses)], "labels")
    assert found.confusion is not None
    assert found.confusion.labels == ("a", "b", "c", OTHER)
    assert found.confusion.matrix == ((2, 1, 0, 0), (0, 1, 0, 1), (0, 0, 0, 1), (0, 0, 0, 0))
    assert found.accuracy == 0.5
    assert found.precision_macro == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert found.recall_macro == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert found.macro_f1 == pytest.approx((0.8 + 0.5 + 0) / 3)
    assert found.precision_micro == pytest.approx(3 / 4)
    assert found.recall_micro == pytest.approx(3 / 6)
    assert found.micro_f1 == pytest.approx(6 / 10)
    assert found.labels is not None
    b = found.labels["b"]
    assert (b.items, b.precision, b.recall, b.f1) == (2, 0.5, 0.5, 0.5)
    assert (found.labels["c"].precision, found.labels["c"].recall) == (None, 0)
    assert found.intervals["precision_micro"] == pytest.approx((0.3006, 0.9544), abs=1e-4)
    assert found.intervals["recall_micro"] == found.intervals["accuracy"]
    assert found.intervals["accuracy"] == pytest.approx((0.1876, 0.8124), abs=1e-4)
    assert found.slices == {
        "new": SliceScore(items=3, accuracy=2 / 3),
        "old": SliceScore(items=3, accuracy=1 / 3),
    }
    assert (found.rouge_l, found.bleu, found.json_validity) == (None, None, None)


def test_broken_objects_lower_the_json_validity() -> None:
    found = score([item(0, '{"i":"a"}', '{"i":"a"}', "a", "a"), item(1, '{"i":"b"}', '{"i":"b"', "b", None)], "json")
    assert (found.json_validity, found.exact_match) == (0.5, 0.5)


def test_objects_are_compared_by_value_and_by_field() -> None:
    expected = '{"intent": "card", "urgent": true}'
    answers = [
        '{"urgent": true, "intent": "card"}',
        '{"intent": "card", "urgent": 1.5}',
        '{"intent": "refund"}',
        "card",
    ]
    found = score([item(n, expected, answer) for n, answer in enumerate(answers)], "json")
    assert (found.json_validity, found.object_match, found.exact_match) == (0.75, 0.25, 0)
    assert found.fields is not None
    assert {name: field.accuracy for name, field in found.fields.items()} == {"intent": 0.5, "urgent": 0.25}
    assert found.fields["intent"].items == 4


@pytest.mark.parametrize(
    ("text", "half", "tokenizer"),
    [
        ("我的银行卡丢失了怎么办", "我的银行卡找到了怎么办", "zh"),
        ("カードを止めたいです", "カードを使いたいです", "char"),
        ("أين بطاقتي الجديدة من فضلك", "أين طلبي الجديدة من فضلك", "13a"),
        ("wo bleibt meine größere Straßenkarte", "wo bleibt deine größere Straßenkarte", "13a"),
    ],
)
def test_text_is_scored_in_the_words_of_its_language(text: str, half: str, tokenizer: str) -> None:
    same, close = text_scores([[text]], [text]), text_scores([[text]], [half])
    assert (same.rouge_1, same.rouge_l, same.token_f1) == (1, 1, 1)
    assert same.bleu == pytest.approx(100)
    assert 0.5 < (close.rouge_l or 0) < 1
    assert 0.5 < (close.token_f1 or 0) < 1
    assert tokenizer_for([[text]]) == tokenizer


def test_the_right_answer_that_is_most_like_counts() -> None:
    right = [["The Mill serves French food.", "French food is served at the Mill."], ["You find Cocum by the river."]]
    answers = ["French food is served at the Mill.", "You find Cocum by the river."]
    found = text_scores(right, answers)
    assert (found.rouge_l, found.token_f1) == (1, 1)
    assert [found.bleu, found.chrf] == pytest.approx([100, 100])
    assert (text_scores([r[:1] for r in right], answers).rouge_l or 0) < 0.9


@pytest.mark.parametrize(
    ("answer", "label", "is_right"),
    [("b", "a", True), ("c", "a", False), ("a", "a", True), ("two words ", None, True), ("three", None, False)],
)
def test_each_reference_is_right(answer: str, label: str | None, is_right: bool) -> None:
    expected, references = ("a", ["b"]) if label else ("one word", ["two words"])
    assert grade_answer(expected, answer, label, None, references)[1] is is_right
    told = replace(item(1, expected, answer, label, answer), references=tuple(references), is_correct=is_right)
    found = score([told], "text")
    assert found.exact_match == found.accuracy == is_right


@pytest.mark.parametrize("answer", ["", "no idea", '{"note": "x"}'])
def test_a_reference_without_a_label_makes_no_answer_right(answer: str) -> None:
    assert grade_answer('{"intent": "a"}', answer, "a", "intent", ['{"note": "x"}']) == (None, False)


def test_text_gets_rouge_and_bleu_in_any_script() -> None:
    half = score([item(0, "a b c d", "a x c y")], "text")
    assert half.rouge_l == pytest.approx(0.5)
    assert half.rouge_1 == half.token_f1 == pytest.approx(0.5)
    assert half.rouge_2 == 0
    same = score([item(0, "привет как твои дела", "привет как твои дела")], "text")
    assert same.rouge_l == 1
    assert same.bleu == pytest.approx(100)
    assert same.chrf == pytest.approx(100)
    assert same.token_f1 == 1
    assert same.macro_f1 is None
    assert half.bleu is not None
    assert half.bleu < 30


@pytest.mark.parametrize(
    ("expected", "answer", "value"),
    [("the red car", "Red, red car!", 2 / 3), ("", "", 1), ("", "a", 0), ("a", "b", 0)],
)
def test_words_are_compared_as_bags(expected: str, answer: str, value: float) -> None:
    assert token_f1(expected, answer) == pytest.approx(value)


def test_perplexity_is_one_over_the_mean_probability_of_equal_tokens() -> None:
    import math

    assert perplexity([[math.log(0.25)] * 3, [math.log(0.25)]]) == pytest.approx(4)
    assert perplexity([]) is None


@pytest.mark.parametrize(("percent", "value"), [(50, 5), (95, 10), (1, 1), (100, 10)])
def test_a_percentile_is_one_of_the_values(percent: float, value: float) -> None:
    assert percentile([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], percent) == value
    assert percentile([], percent) is None
