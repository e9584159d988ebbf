"""Every metric against numbers worked out by hand."""

import pytest

from train.metrics import OTHER, Scored, detect_task, judge_answer, percentile, perplexity, score


def item(number: int, expected: str, answer: str, label: str | None = None, predicted: str | None = None) -> Scored:
    return Scored(
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
    assert judge_answer(expected, answer, label, field) == found


@pytest.mark.parametrize(
    ("expected", "task"),
    [
        pytest.param(['{"a":1}', '{"a":2}', '{"b":1}'], "json", id="objects"),
        pytest.param(["refund", "card", "refund ", "card"], "labels", id="few distinct answers"),
        pytest.param(["a long letter", "another letter", "a third"], "text", id="all different"),
        pytest.param(["[1]", "[2]"], "text", id="JSON that is no object"),
    ],
)
def test_the_task_is_seen_from_the_answers(expected: list[str], task: str) -> None:
    assert detect_task(expected) == task


def test_label_scores_are_those_of_the_confusion_matrix() -> None:
    guesses = [("a", "a"), ("a", "a"), ("a", "b"), ("b", "b"), ("b", "made up"), ("c", None)]
    found = score([item(n, t, p or "", t, p) for n, (t, p) in enumerate(guesses)], "labels")
    assert found["confusion"]["labels"] == ["a", "b", "c", OTHER]
    assert found["confusion"]["matrix"] == [[2, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]]
    assert found["accuracy"] == 0.5
    assert found["precision_macro"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert found["recall_macro"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert found["macro_f1"] == pytest.approx((0.8 + 0.5 + 0) / 3)
    assert found["slices"] == {
        "new": {"items": 3, "accuracy": pytest.approx(2 / 3)},
        "old": {"items": 3, "accuracy": pytest.approx(1 / 3)},
    }
    assert (found["rouge_l"], found["bleu"], found["json_validity"]) == (None, None, None)


def test_broken_objects_lower_the_json_validity() -> None:
    found = score([item(0, '{"i":"a"}', '{"i":"a"}', "a", "a"), item(1, '{"i":"b"}', '{"i":"b"', "b", None)], "json")
    assert (found["json_validity"], found["exact_match"]) == (0.5, 0.5)


def test_text_gets_rouge_and_bleu_in_any_script() -> None:
    half = score([item(0, "a b c d", "a x c y")], "text")
    assert half["rouge_l"] == pytest.approx(0.5)
    same = score([item(0, "привет как твои дела", "привет как твои дела")], "text")
    assert same["rouge_l"] == 1
    assert same["bleu"] == pytest.approx(100)
    assert same["macro_f1"] is None
    assert half["bleu"] < 30


def test_perplexity_is_one_over_the_mean_probability_of_equal_tokens() -> None:
    import math

    assert perplexity([[math.log(0.25)] * 3, [math.log(0.25)]]) == pytest.approx(4)
    assert perplexity([]) is None


@pytest.mark.parametrize(("percent", "value"), [(50, 5), (95, 10), (1, 1), (100, 10)])
def test_a_percentile_is_one_of_the_values(percent: float, value: float) -> None:
    assert percentile([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], percent) == value
    assert percentile([], percent) is None
