"""Makes text from outside inert where it is shown: on a terminal, in JSON that is printed, in a table that is saved.

A terminal obeys control characters, of which the older ones begin with an escape and the 8-bit ones do not; marks of
writing direction let a line read otherwise than it is; a spreadsheet computes a cell that begins like a formula.
"""

import re

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_FORMULA = re.compile(r"[=@\t\r]|[+-].*[(|!=&]", re.DOTALL)
"""How a cell begins that a spreadsheet would compute: `-0.5` and `-` are left as they are."""


def inert(text: str) -> str:
    r"""Return a text for one line of a terminal: what would steer it is shown as `\x1b` and the like."""
    return _CONTROLS.sub(_shown, text)


def inert_lines(text: str) -> str:
    """Return a text of several lines for a terminal."""
    return "\n".join(inert(line) for line in text.split("\n"))


def inert_json(text: str) -> str:
    """Return JSON that means the same, and in which nothing steers a terminal."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def inert_cell(text: str) -> str:
    """Return the text of a table's cell, so that a spreadsheet takes it for text."""
    return f"'{text}" if _FORMULA.match(text) else text


def _shown(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
