"""Says how candidates resemble one another: letter distances in bulk first, then pair by pair what passed."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from rapidfuzz import fuzz, process
from rapidfuzz.distance import OSA

from train.data.near_duplicates.near_pairs import Pieces
from train.data.near_duplicates.resemblance import CONTAINED_CHARACTERS, LONGEST, TYPOS, Kind, resemblance
from train.data.near_duplicates.signatures import in_any_order

PAIRS_AT_ONCE = 200_000

Array = Any
"""A numpy array."""


def resembling(
    asked: Pieces, held: Pieces, pairs: Array, is_wanted: Callable[[int, int], bool] = lambda _, __: True
) -> Iterator[tuple[int, int, Kind]]:
    """Yield the pairs that resemble one another, and how; those that are not wanted are passed over."""
    for start in range(0, len(pairs), PAIRS_AT_ONCE):
        part = pairs[start : start + PAIRS_AT_ONCE]
        for first, second in part[_may(asked, held, part)].tolist():
            if is_wanted(first, second):
                kind = resemblance(asked.texts[first], held.texts[second], asked.similarity)
                if kind:
                    yield first, second, kind


def _may(asked: Pieces, held: Pieces, pairs: Array) -> Array:
    """Ask of each pair whether the letters of one stand in the other, whole or nearly, or the words in any order.

    Of very long texts no letters are compared, which would take the square of their lengths.
    """
    lengths = asked.signatures.characters[pairs[:, 0]], held.signatures.characters[pairs[:, 1]]
    found = np.maximum(*lengths) > LONGEST
    found[~found] = _may_of_usual(asked, held, pairs[~found])
    return found


def _may_of_usual(asked: Pieces, held: Pieces, pairs: Array) -> Array:
    a, b = pairs[:, 0], pairs[:, 1]
    n, m = asked.signatures.characters[a], held.signatures.characters[b]
    shorter, either = np.minimum(n, m), (1 - asked.similarity) * (n + m) / 2
    texts = [asked.joined[i] for i in a.tolist()], [held.joined[j] for j in b.tolist()]
    least = 100 * (1 - np.maximum((1 - asked.similarity) / 2, 1 / np.maximum(shorter, 1))) - 0.02
    lowest = float(least[shorter >= CONTAINED_CHARACTERS // 2].min(initial=100))
    threads = os.cpu_count() or 1
    found = process.cpdist(*texts, scorer=fuzz.partial_ratio, score_cutoff=lowest, workers=threads) >= least
    edits = np.maximum(TYPOS, np.floor(either / 2))
    most = int(edits.max(initial=0))
    found |= process.cpdist(*texts, scorer=OSA.distance, score_cutoff=most, workers=threads) <= edits
    found |= in_any_order(asked.signatures, held.signatures, a, b)
    return found
