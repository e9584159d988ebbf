"""Each criterion against grades worked out by hand."""

import pytest

from driftwheel.text.grades import LOCAL, MEANINGS, Criterion, grade

CALL = '[{"name": "book", "arguments": {"day": 3, "who": "Ann"}}]'

SIGNS = [("3.5", "5.3"), ("-5", "5"), ("C++", "C"), ("2024-01-02", "2024-02-01"), ("🙂", ""), ("+", "-")]


@pytest.mark.parametrize(
    ("criterion", "answer", "references", "expected"),
    [
        pytest.param("right", " refund\n", ["card", "refund"], 1.0, id="any right answer is right"),
        pytest.param("right", "Refund", ["refund"], 0.0, id="another letter is another answer"),
        pytest.param("fields", '{"a": 1, "b": "x"}', ['{"b": "x", "a": 1}'], 1.0, id="order does not count"),
        pytest.param("fields", '{"a": 1, "b": "y"}', ['{"a": 1, "b": "x"}'], 0.5, id="half of the fields"),
        pytest.param("fields", '{"a": true}', ['{"a": 1}'], 0.0, id="a truth value is no number"),
        pytest.param("fields", '{"a": "1"}', ['{"a": 1}'], 0.0, id="a text is no number"),
        pytest.param("fields", '{"a": 1, "z": 2}', ['{"a": 1}'], 0.5, id="a field too many counts"),
        pytest.param("fields", '{"a": {"b": 1, "c": 2}}', ['{"a": {"b": 1, "c": 3}}'], 0.5, id="fields of fields"),
        pytest.param("fields", "no object", ['{"a": 1}'], 0.0, id="no object has no field"),
        pytest.param("fields", '{"a": 1}', ["no object"], 0.0, id="an object where a text is right"),
        pytest.param("fields", "no object", ["no object"], 1.0, id="a text where a text is right"),
        pytest.param("fields", "{}", ["{}"], 1.0, id="nothing to say"),
        pytest.param("calls", CALL, [CALL], 1.0, id="the same call"),
        pytest.param("calls", CALL.replace("3", "4"), [CALL], 2 / 3, id="name and one of two arguments"),
        pytest.param("calls", CALL.replace("book", "cancel"), [CALL], 0.0, id="another tool"),
        pytest.param("calls", "I cannot.", [CALL], 0.0, id="no call"),
        pytest.param("calls", CALL[:-1] + ", " + CALL[1:], [CALL], 0.5, id="a call too many"),
        pytest.param("calls", "#### ####", ["It is closed."], 0.0, id="calling nothing is not enough"),
        pytest.param("calls", "It is closed.", ["It is closed."], 1.0, id="the right text instead of a call"),
        pytest.param("calls", CALL, ["It is closed."], 0.0, id="a call where a text is right"),
        pytest.param("calls", '{"a": 1, "b": 3}', ['{"a": 1, "b": 2}'], 0.5, id="an object instead of a call"),
        pytest.param("calls", "It is closed.", [CALL, "It is closed."], 1.0, id="a call or a text is right"),
        *(
            pytest.param(criterion, answer, [right], 0.0, id=f"{criterion}: {answer} is not {right}")
            for criterion in ("token_f1", "rouge_l")
            for right, answer in SIGNS
        ),
        pytest.param("token_f1", "\u22125 kg", ["-5kg."], 1.0, id="a number and its unit"),
        pytest.param("rouge_l", "🙂", ["🙂 "], 1.0, id="no words at all"),
        pytest.param("token_f1", "the cat", ["a dog", "the cat sat"], 0.8, id="the best right answer counts"),
        pytest.param("chrf", "a cheap pub", ["other words", "a cheap pub"], 1.0, id="the same text"),
        pytest.param("chrf", "", ["a cheap pub"], 0.0, id="an empty answer"),
        pytest.param("chrf", "anything", [" \n"], None, id="an empty reference grades nothing"),
        pytest.param("rouge_l", "猫 座った", ["猫 座った"], 1.0, id="any script"),
    ],
)
def test_an_answer_is_graded(criterion: Criterion, answer: str, references: list[str], expected: float | None) -> None:
    assert grade(criterion, answer, references) == (None if expected is None else pytest.approx(expected, abs=1e-6))


def test_likeness_to_a_text_is_a_matter_of_degree() -> None:
    right = ["Blue Spice is a cheap pub near the river."]
    for criterion in ("chrf", "rouge_l", "token_f1"):
        found = [
            grade(criterion, answer, right)
            for answer in ("A cheap pub near the river is Blue Spice.", "Blue Spice is a hotel.", "Twelve green keys")
        ]
        assert all(value is not None for value in found)
        assert found == sorted(found, key=float, reverse=True)  # type: ignore[arg-type]
        assert len(set(found)) == 3


def test_every_criterion_is_explained_and_what_others_grade_is_not_graded_here() -> None:
    assert LOCAL.keys() < MEANINGS.keys()
    for criterion in MEANINGS.keys() - LOCAL.keys():
        with pytest.raises(ValueError, match="asked elsewhere"):
            grade(criterion, "a", ["a"])
