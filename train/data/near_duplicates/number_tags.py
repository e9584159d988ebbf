"""Tags texts by the numbers that they name, so that texts with other numbers are never compared.

Of ten thousand questions `where is order 4471` all letters but the number are the same, and all are different.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from train.data.near_duplicates.resemblance import Text
from train.data.near_duplicates.signatures import FACTOR

MANY_NUMBERS = 8
"""A text with more different numbers is not told apart by them."""
NONE, MANY = 0, 1
"""The tags of texts without numbers, and of those with many."""

Array = Any
"""A numpy array."""


@dataclass(frozen=True)
class RowTags:
    """Tags of each text, one after another."""

    counts: Array
    starts: Array
    values: Array

    @staticmethod
    def of(tags: Sequence[Sequence[int]]) -> "RowTags":
        """Put the tags of texts one after another."""
        counts = np.array([len(own) for own in tags], dtype=np.int64)
        return RowTags(counts, np.cumsum(counts) - counts, np.array([t for own in tags for t in own], dtype=np.uint64))


@dataclass(frozen=True)
class Tags:
    """What a pair must share beside a piece: `asked` of the text whose pieces are looked up, `held` of the other."""

    asked: RowTags
    held: RowTags


def same_numbers(texts: Sequence[Text]) -> Tags:
    """Return tags that only texts with the same numbers share."""
    tags = RowTags.of([[_hash(sorted(text.numbers.elements())) if text.numbers else NONE] for text in texts])
    return Tags(tags, tags)


def more_numbers(texts: Sequence[Text]) -> Tags:
    """Return tags that a text shares with those that name one number of its, or any at all if it has none."""
    own = [sorted(map(_hash, ([number] for number in text.numbers))) for text in texts]
    asked = [[NONE] if not n else [MANY] if len(n) > MANY_NUMBERS else [n[0], MANY] for n in own]
    return Tags(RowTags.of(asked), RowTags.of([[NONE, MANY] if len(n) > MANY_NUMBERS else [NONE, *n] for n in own]))


def _hash(numbers: Sequence[str]) -> int:
    found = 7
    for number in numbers:
        for sign in (*number, " "):
            found = (found * int(FACTOR) + ord(sign)) % (1 << 64)
    return found
