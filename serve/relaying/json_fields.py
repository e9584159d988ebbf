"""JSON as text: how deep it is nested, and where the values of its top-level fields begin and end.

Nesting is counted before a parser may recurse; places are what a rewrite needs that must alter no other byte.
"""

import json
import re
from itertools import accumulate
from typing import Any

MAX_DEPTH, MAX_BRACKETS = 64, 20_000
"""Python's parsers recurse, and a list of empty lists can take 25 times its text's memory."""
_STEPS = {**dict.fromkeys(b"[{", 1), **dict.fromkeys(b"]}", -1)}
_NO_SIGNS = bytes(set(range(256)) - {*_STEPS, ord('"')})
_SPACE = re.compile(r"[ \t\n\r]*")
_SCAN = json.JSONDecoder()


def check_depth(body: bytes) -> None:
    """Raise ValueError if JSON is nested too deeply, or would take much more memory parsed than as text.

    Where texts or brackets do not match the count is wrong from there on, and the parser stops there.
    """
    count = body.count(b"[") + body.count(b"{")
    if count <= MAX_DEPTH:
        return
    if count > MAX_BRACKETS:
        raise ValueError(f"it holds over {MAX_BRACKETS} lists and objects")
    # Escaped backslashes first, then escaped quotes; what is left of a text stands between two quotes.
    signs = body.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _NO_SIGNS)
    brackets = b"".join(signs.split(b'"')[::2])
    if any(depth > MAX_DEPTH for depth in accumulate(map(_STEPS.__getitem__, brackets))):
        raise ValueError(f"it is nested deeper than {MAX_DEPTH}")


def members(text: str) -> list[tuple[str, Any, int, int]]:
    """Return name, value, begin and end of the value for each field of a JSON object; raises ValueError."""
    at = _skip(text, 0)
    _expect(text, at, "{")
    at = _skip(text, at + 1)
    found: list[tuple[str, Any, int, int]] = []
    while text[at : at + 1] != "}":
        if found:
            _expect(text, at, ",")
            at = _skip(text, at + 1)
        _expect(text, at, '"')
        name, at = _SCAN.raw_decode(text, at)
        at = _skip(text, at)
        _expect(text, at, ":")
        begin = _skip(text, at + 1)
        value, end = _SCAN.raw_decode(text, begin)
        found.append((name, value, begin, end))
        at = _skip(text, end)
    if _skip(text, at + 1) != len(text):
        raise ValueError(f"something follows the object at character {at + 1}")
    return found


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _expect(text: str, at: int, sign: str) -> None:
    if text[at : at + 1] != sign:
        raise ValueError(f"expected {sign!r} at character {at}")
