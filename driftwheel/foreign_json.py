"""Reads JSON that others wrote: whatever its numbers and its depth, there is a value or one ValueError."""

import json
from typing import Any


class NestingError(ValueError):
    """A JSON text is nested so deeply that it cannot be read."""


def read_json(text: str | bytes) -> Any:
    """Return the value of a JSON text; raises ValueError if it is none, NestingError if it is nested too deeply.

    An integer that is too long for Python to convert becomes the text of its digits, so that what stands beside it
    can be read.
    """
    try:
        return _read(text)
    except RecursionError:
        raise NestingError("it is nested too deeply") from None


def _read(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError:  # Python refuses integers of over 4,300 digits (CVE-2020-10735)
        return json.loads(text, parse_int=_integer)


def _integer(digits: str) -> int | str:
    try:
        return int(digits)
    except ValueError:
        return digits
