"""Compares texts by a few machine words each, to part those that cannot resemble one another from those that may.

Of texts of which one stands in the other, none is lost. Of the same words in another order, those are kept that share
half of their trigrams and nearly all of their letters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from train.data.near_duplicates.resemblance import INSERTED_CHARACTERS, TYPOS, Text

BITS, LETTER_BINS = 512, 32
"""Of sets of trigrams, and counts of letters; two trigrams that share a bit make texts no less alike."""
TRIGRAMS_OF_AN_EDIT, TRIGRAMS_OF_A_SWAP = 3, 4
TEXTS_AT_ONCE = 20_000
FACTOR = np.uint64(0x9E3779B97F4A7C15)

Array = Any
"""A numpy array."""


@dataclass(frozen=True)
class Signatures:
    """What each of some texts is quickly compared by."""

    similarity: float
    characters: Array
    letters: Array
    """How often each letter occurs, by its hash."""
    joined: Array
    """Sets of trigrams of the letters without spaces."""
    words: Array
    """Sets of trigrams within words, with the spaces around them."""


def signatures(texts: Sequence[Text], similarity: float) -> Signatures:
    """Return the signatures of texts."""
    parts = [texts[start : start + TEXTS_AT_ONCE] for start in range(0, len(texts), TEXTS_AT_ONCE)]
    bits = np.zeros((0, BITS // 64), dtype=np.uint64)
    return Signatures(
        similarity=similarity,
        characters=np.array([text.characters for text in texts], dtype=np.int64),
        letters=np.concatenate(
            [np.zeros((0, LETTER_BINS), np.uint8), *(_letters([t.joined for t in p]) for p in parts)]
        ),
        joined=np.concatenate([bits, *(_trigrams([t.joined for t in part]) for part in parts)]),
        words=np.concatenate([bits, *(_trigrams([f" {t.folded} " for t in part]) for part in parts)]),
    )


def may_resemble(shorter: Signatures, longer: Signatures, rows: Array, columns: Array) -> Array:
    """Ask of each pair of a shorter and a longer text whether they may resemble one another."""
    n, m = shorter.characters[rows], longer.characters[columns]
    # Each edit is in three trigrams of the shorter text, and in four if it swaps two letters.
    edits = TRIGRAMS_OF_AN_EDIT * np.maximum(TYPOS, np.floor((1 - shorter.similarity) * n + 1e-9))
    most = np.where(m - n <= INSERTED_CHARACTERS, np.maximum(edits, TRIGRAMS_OF_A_SWAP * TYPOS), edits)
    found = _size(shorter.joined[rows] & ~longer.joined[columns]) <= most
    left = np.flatnonzero(~found)
    found[left] = in_any_order(shorter, longer, rows[left], columns[left])
    return found


def in_any_order(asked: Signatures, held: Signatures, rows: Array, columns: Array) -> Array:
    """Ask of each pair whether they may be of the same words but for typos and one small word, in any order.

    Then they are of like length, of nearly the same letters, and half of the trigrams of either are in the other.
    """
    n, m = asked.characters[rows], held.characters[columns]
    either = (1 - asked.similarity) * (n + m) / 2
    found = np.abs(n - m) <= np.maximum(INSERTED_CHARACTERS, 2 * either)
    left = np.flatnonzero(found)
    differing = _difference(asked.letters[rows[left]], held.letters[columns[left]])
    left = left[differing <= np.maximum(either[left], INSERTED_CHARACTERS) + 4 * np.maximum(TYPOS, either[left] // 2)]
    a, b = asked.words[rows[left]], held.words[columns[left]]
    found[:] = False
    found[left] = 2 * _size(a & b) >= np.minimum(_size(a), _size(b))
    return found


def _difference(a: Array, b: Array) -> Array:
    return (np.maximum(a, b) - np.minimum(a, b)).sum(axis=1, dtype=np.int64)


def mixed(values: Array) -> Array:
    """Return hashes whose bits all depend on all bits (the end of MurmurHash3)."""
    values = values ^ (values >> np.uint64(33))
    values = values * np.uint64(0xFF51AFD7ED558CCD)
    values = values ^ (values >> np.uint64(33))
    values = values * np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))


def _size(bits: Array) -> Array:
    return np.bitwise_count(bits).sum(axis=1, dtype=np.int64)


def _codes(texts: Sequence[str]) -> tuple[Array, Array]:
    """Return the characters of texts, one after another, and which text each is of."""
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    return codes, np.repeat(np.arange(len(texts)), [len(text) for text in texts])


def _letters(texts: Sequence[str]) -> Array:
    codes, rows = _codes(texts)
    places = rows * LETTER_BINS + (codes % np.uint64(LETTER_BINS)).astype(np.int64)
    counts = np.bincount(places, minlength=len(texts) * LETTER_BINS)
    return np.minimum(counts, 255).astype(np.uint8).reshape(len(texts), LETTER_BINS)


def _trigrams(texts: Sequence[str]) -> Array:
    codes, rows = _codes(texts)
    is_within = (rows[:-2] == rows[2:]) & (codes[1:-1] != ord(" "))
    bits = mixed((codes[:-2] * FACTOR + codes[1:-1]) * FACTOR + codes[2:]) % np.uint64(BITS)
    found = np.zeros((len(texts), BITS), dtype=bool)
    found[rows[:-2][is_within], bits[is_within].astype(np.int64)] = True
    return np.packbits(found, axis=1).view(np.uint64)
