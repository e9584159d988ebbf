"""Read a model's answer: the JSON object that it is, and the label that it claims."""

import json


def parse_object(answer: str) -> dict[str, object] | None:
    """Return the JSON object that an answer is, or None."""
    try:
        value = json.loads(answer)
    except (json.JSONDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def label_of(answer: str, label_field: str | None) -> str | None:
    """Return an answer's label: the named field of a JSON object, or the whole stripped answer if no field is named.

    None means that the answer holds no such label.
    """
    if label_field is None:
        return answer.strip() or None
    value = (parse_object(answer) or {}).get(label_field)
    return value if isinstance(value, str) else None
