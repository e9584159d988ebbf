"""Finds what nearly all prompts of a set begin and end with, such as one instruction before each input.

Two prompts are not alike because the same long instruction stands before both. So prompts are compared without it: it
is measured over a set once, kept in the Dataset's report, and left out wherever rows of that Dataset are compared.
What a reader takes for the question stays; rows are learned and judged as they are.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz

from driftwheel.records.dataset_report import SharedFrame

NEARLY_ALL, FEWEST_TEXTS, FEWEST_LETTERS = 0.9, 20, 20
"""Less than an instruction has, such as `how do I`, is a part of questions; and few texts share much by chance."""
NOTHING_SHARED = SharedFrame()
ALIKE, ROOM = 90.0, 1.2
"""How alike, of 100, the beginning of a text is to the shared one where a person retyped it, and where it may end."""


def measured(texts: Iterable[str]) -> SharedFrame:
    """Return what at least nine of ten distinct texts begin with and end with; empty where that is little."""
    distinct = sorted(set(texts))
    if len(distinct) < FEWEST_TEXTS:
        return SharedFrame()
    before = _shared(distinct)
    rests = sorted(text.removeprefix(before)[::-1] for text in distinct)
    return SharedFrame(before=before, after=_shared(rests)[::-1])


@dataclass(frozen=True)
class Compared:
    """Takes from texts what all of a set share."""

    frame: SharedFrame

    def texts(self, texts: Sequence[str]) -> list[str]:
        """Return the texts as they are compared."""
        return [self.text(text) for text in texts] if self.frame.before or self.frame.after else list(texts)

    def text(self, text: str) -> str:
        """Return a text without the shared beginning and end; one that has them nearly has them, too."""
        rest = _cut(text, self.frame.before)
        return _cut(rest[::-1], self.frame.after[::-1])[::-1]


def _shared(ordered: Sequence[str]) -> str:
    """Return the longest beginning, of whole words, that nearly all of some sorted texts have."""
    middle = ordered[len(ordered) // 2]  # texts that begin alike stand side by side, and these are more than half
    low, high = 0, len(middle)
    while low < high:
        length = (low + high + 1) // 2
        if sum(text.startswith(middle[:length]) for text in ordered) >= NEARLY_ALL * len(ordered):
            low = length
        else:
            high = length - 1
    whole = re.sub(r"\w+$", "", middle[:low])
    return whole if len(re.findall(r"\w", whole)) >= FEWEST_LETTERS else ""


def _cut(text: str, shared: str) -> str:
    if text.startswith(shared):
        return text[len(shared) :]
    if len(text) * ROOM < len(shared):
        return text
    frame, folded, room = _folded(shared), _folded(text), int(ROOM * len(shared))
    for start in sorted({0, max(0, len(text) - room)}):  # a person may have put the instruction behind the question
        # Filled up, because of two texts the shorter one is looked for, and found as a whole, question included.
        part = folded[start : start + room].ljust(len(frame) + 1, "\0")
        found = fuzz.partial_ratio_alignment(frame, part, score_cutoff=ALIKE)
        if found is not None:
            before = folded[: start + found.dest_start]
            rest = text[start + found.dest_end :]
            # Where somebody put words into the instruction, its own beginning may stand before what is most like it.
            rest = rest if frame.startswith(before) else text[: len(before)] + rest
            return rest if rest.strip() or folded.strip() == frame.strip() else text
    return text


def _folded(text: str) -> str:
    """Return a text in small letters, each in its place: the small form of U+0130 is two characters."""
    lower = text.lower()
    return lower if len(lower) == len(text) else "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
