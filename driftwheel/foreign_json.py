"""Reads JSON that others wrote: whatever its numbers and its depth, there is a value or one ValueError."""

import json
from collections.abc import Callable
from typing import Any


class NestingError(ValueError):
    """A JSON text is nested so deeply that it cannot be read."""


Pairs = Callable[[list[tuple[str, Any]]], Any]
"""Makes an object of its keys and values."""


def read_json(text: str | bytes, as_object: Pairs = dict) -> Any:
    """Return the value of a JSON text; raises ValueError if it is none, NestingError if it is nested too deeply.

    An integer that is too long for Python to convert becomes the text of its digits, so that what stands beside it
    can be read. `as_object` sees keys that come twice, of which a dict keeps the last.
    """
    try:
        return _read(text, None if as_object is dict else as_object)
    except RecursionError:
        raise NestingError("it is nested too deeply") from None


def _read(text: str | bytes, as_object: Pairs | None) -> Any:
    try:
        return json.loads(text, object_pairs_hook=as_object)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError:  # Python refuses integers of over 4,300 digits (CVE-2020-10735)
        return json.loads(text, parse_int=_integer, object_pairs_hook=as_object)


def _integer(digits: str) -> int | str:
    try:
        return int(digits)
    except ValueError:
        return digits
