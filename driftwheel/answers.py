"""Read a model's answer: the JSON object that it is, and the label that it claims."""

import json
import math

from driftwheel.foreign_json import read_json


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
    value = (parse_object(answer) or {}).get(label_field)
    return value if isinstance(value, str) else as_label(value)


def as_label(value: object) -> str | None:
    """Return a number or a truth value as JSON writes it; None for what is neither, such as NaN."""
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return json.dumps(value)
    return None
