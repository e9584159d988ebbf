"""Shows what each choice of `dataset.clean` would change in prompts, before a Dataset is built."""

from collections.abc import Sequence
from typing import get_args

from driftwheel.settings.data import Cleaning
from driftwheel.traffic.personal_data import redact
from train.data.checking.findings import CleaningFound
from train.data.cleaning import clean_prompt

SHOWN_EXAMPLES, SHOWN_CHARACTERS, SHOWN_BEFORE = 5, 60, 20
"""Examples of each choice, and how much of a text is shown from a little before what changes."""


def preview(prompts: Sequence[tuple[str, str]]) -> dict[str, CleaningFound]:
    """Return for each choice how many prompts, given with their places, it would change, and some before and after."""
    found = {}
    for how in get_args(Cleaning):
        changed = [(place, text, clean) for place, text in prompts if (clean := clean_prompt(text, how)) != text]
        shown = [_shown(*change) for change in changed[:SHOWN_EXAMPLES]]
        found[how] = CleaningFound(prompts=len({place for place, _, _ in changed}), examples=shown)
    return found


def _shown(place: str, text: str, clean: str) -> str:
    pairs = enumerate(zip(text, clean, strict=False))
    first = next((number for number, (a, b) in pairs if a != b), min(len(text), len(clean)))
    start = max(0, first - SHOWN_BEFORE)
    before, after = (redact(t[start : start + SHOWN_CHARACTERS])[0] for t in (text, clean))
    return f"{place} {before!r} -> {after!r}"
