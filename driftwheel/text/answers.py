"""Read a model's answer: the JSON object that it is, the label that it claims, and whether its form is the task's."""

import json
import math
from collections.abc import Sequence
from typing import Literal

from driftwheel.foreign_json import read_json

AnswerForm = Literal["object", "text", "mixed"]
"""What a task's answers are: JSON objects, texts (labels or prose), or some of both."""
OBJECTS_SHARE = 0.95
"""Of so many JSON objects the others are broken rows, and no second form; and the other way round."""


def parse_object(answer: str) -> dict[str, object] | None:
    """Return the JSON object that an answer is, or None."""
    try:
        value = read_json(answer)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def label_of(answer: str, label_field: str | None) -> str | None:
    """Return an answer's label: the named field of a JSON object, or the whole stripped answer if no field is named.

    A number or a truth value is a label as JSON writes it. None means that the answer holds no such label.
    """
    if label_field is None:
        return answer.strip() or None
    return _as_label((parse_object(answer) or {}).get(label_field))


def right_label(answer: str, label_field: str | None) -> str | None:
    """Return the label of a right answer: a JSON object's field, and a plain answer is its own label."""
    return label_of(answer, label_field if parse_object(answer) is not None else None)


def form_of(answers: Sequence[str]) -> AnswerForm | None:
    """Return the form of a task's right answers; None without any."""
    if not answers:
        return None
    objects = sum(parse_object(answer) is not None for answer in answers)
    if objects >= OBJECTS_SHARE * len(answers):
        return "object"
    # A text may happen to be an object: one of a thousand must not make the task another one.
    return "text" if len(answers) - objects >= OBJECTS_SHARE * len(answers) else "mixed"


def field_for(form: AnswerForm | None, label_field: str | None) -> str | None:
    """Return the field that holds the label of answers in this form: none of a text, which is its own label."""
    return None if form == "text" else label_field


def wrong_form(answer: str, form: AnswerForm | None, label_field: str | None) -> str | None:
    """Return the form that an answer should have had, in words, or None if it has the form of the task's answers."""
    value = parse_object(answer)
    if form == "text" and value is not None:
        return "plain text, and no JSON object"
    if form != "object":
        return None
    if value is None:
        return "a JSON object" + (f" with the field {label_field!r}" if label_field else "")
    if label_field and _as_label(value.get(label_field)) is None:
        return f"a JSON object with the field {label_field!r}, which holds a text, a number or a truth value"
    return None


def _as_label(value: object) -> str | None:
    return value if isinstance(value, str) else as_label(value)


def as_label(value: object) -> str | None:
    """Return a number or a truth value as JSON writes it; None for what is neither, such as NaN."""
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return json.dumps(value)
    return None
