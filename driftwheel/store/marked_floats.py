"""Marks the floats that JSON has no word for, so that they come back from a database as they went in."""

import math
from typing import Any

MARK = "float"
"""The only key of the object that stands for such a number; its value is `nan`, `inf` or `-inf`."""


def with_marked_floats(value: Any) -> Any:
    """Return JSON in which each float that is no finite number is an object."""
    if isinstance(value, float) and not math.isfinite(value):
        return {MARK: str(value)}
    if isinstance(value, dict):
        return {name: with_marked_floats(member) for name, member in value.items()}
    return [with_marked_floats(member) for member in value] if isinstance(value, list) else value


def with_unmarked_floats(value: Any) -> Any:
    """Return the JSON as it was before."""
    if isinstance(value, dict):
        if value.keys() == {MARK} and isinstance(value[MARK], str):
            return float(value[MARK])
        return {name: with_unmarked_floats(member) for name, member in value.items()}
    return [with_unmarked_floats(member) for member in value] if isinstance(value, list) else value
