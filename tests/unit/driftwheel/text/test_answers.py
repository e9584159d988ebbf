"""Labels of answers in every form, and corrections in another form than the task's."""

import pytest

from driftwheel.text.answers import AnswerForm, field_for, form_of, label_of, parse_object, right_label, wrong_form

LONG = "9" * 5000


@pytest.mark.parametrize(
    ("answer", "field", "label"),
    [
        ('{"stars": 5}', "stars", "5"),
        ('{"stars": 4.5}', "stars", "4.5"),
        ('{"is_open": true}', "is_open", "true"),
        ('{"intent": "card"}', "intent", "card"),
        ('{"intent": null}', "intent", None),
        ('{"intent": ["card"]}', "intent", None),
        ('{"mood": "good"}', "intent", None),
        ("card", "intent", None),
        (" 1 ", None, "1"),
    ],
)
def test_texts_numbers_and_truth_values_are_labels(answer: str, field: str | None, label: str | None) -> None:
    assert label_of(answer, field) == label


def test_a_plain_right_answer_is_its_own_label_whatever_the_settings_name() -> None:
    assert (right_label("card_lost", "intent"), right_label('{"intent": "x"}', "intent")) == ("card_lost", "x")
    assert right_label('{"mood": "x"}', "intent") is None


@pytest.mark.parametrize(
    ("answers", "form", "field"),
    [
        ([], None, "intent"),
        (["card", "loan"], "text", None),
        (['{"intent": "x"}'] * 19 + ["{"], "object", "intent"),
        (['{"intent": "x"}', "card"], "mixed", "intent"),
    ],
)
def test_the_form_of_a_task_says_where_its_labels_are(
    answers: list[str], form: AnswerForm | None, field: str | None
) -> None:
    assert form_of(answers) == form
    assert field_for(form, "intent") == field


def test_one_odd_answer_makes_no_other_task() -> None:
    texts, objects = [f"answer {n}" for n in range(99)], [f'{{"intent": "{n}"}}' for n in range(99)]
    assert form_of([*texts, objects[0]]) == "text"
    assert form_of([*objects, texts[0]]) == "object"
    assert form_of([*texts[:50], *objects[:50]]) == "mixed"


@pytest.mark.parametrize(
    ("correction", "form", "expected"),
    [
        ("card", "object", "a JSON object with the field 'intent'"),
        (
            '{"mood": 1}',
            "object",
            "a JSON object with the field 'intent', which holds a text, a number or a truth value",
        ),
        ('{"intent": "card"}', "object", None),
        ('{"intent": "card"}', "text", "plain text, and no JSON object"),
        ("card", "text", None),
        ("card", "mixed", None),
        ("card", None, None),
    ],
)
def test_a_correction_in_another_form_is_told_which_form(
    correction: str, form: AnswerForm | None, expected: str | None
) -> None:
    assert wrong_form(correction, form, "intent") == expected


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ('{"intent": "card"}', "card"),
        ('{"intent": 3}', "3"),
        ('{"intent": true}', "true"),
        ('{"intent": 0.5}', "0.5"),
        (f'{{"intent": "card", "account": {LONG}}}', "card"),
        (f'{{"intent": {LONG}}}', LONG),
        ('{"intent": NaN}', None),
        ('{"intent": null}', None),
        ('{"intent": ["card"]}', None),
        ("card", None),
        (LONG, None),
    ],
)
def test_the_label_is_the_field_as_json_writes_it(answer: str, label: str | None) -> None:
    assert label_of(answer, "intent") == label


@pytest.mark.parametrize("answer", [LONG, f"[{LONG}]", "[" * 100_000, "7", ""])
def test_what_is_no_object_is_none(answer: str) -> None:
    assert parse_object(answer) is None
