"""Finds the pairs of texts that may resemble one another, without comparing each with each.

The partition filter of Pass-Join (Li, Deng, Wang and Feng 2011): cut a text into one piece more than it may have edits,
and one of them stands whole in each text that it resembles. So only texts are compared that hold a piece of the other,
a few in a hundred thousand. Two forms of a text are cut: its letters as they follow one another, and its words in the
order of the alphabet, for those that were said in another order. What is found depends on the two texts alone. The
pieces of very long texts are a sample, chosen by hash; so are all if the similarity asks for pieces of one letter.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from train.data.near_duplicates.number_tags import RowTags, Tags, more_numbers, same_numbers
from train.data.near_duplicates.resemblance import CONTAINED_SHARE, INSERTED_CHARACTERS, Text
from train.data.near_duplicates.signatures import FACTOR, Signatures, may_resemble, mixed, signatures

LADDER = (2, 3, 4, 5, 6, 7, 8, 9)
"""Lengths of pieces; a piece is cut down to the next of them, so that few lists of substrings are needed."""
LONG, LONG_PIECE, LONG_SAMPLE = 256, 10, 32
"""Of a longer text, substrings of so many letters are looked up: from so many to twice as many, chosen by hash."""
BLOCK_PAIRS = 1 << 16
"""So many pairs are looked at together: what is read of them fits into a processor's cache."""
LENGTH_BITS = 16
LARGEST_LENGTH = (1 << LENGTH_BITS) - 1
WITHOUT_LENGTH = np.uint64(~LARGEST_LENGTH & (1 << 64) - 1)

Array = Any
"""A numpy array."""


@dataclass(frozen=True)
class Hashes:
    """Substrings of texts by their hash, and the text that each is of."""

    hashes: Array
    rows: Array
    lengths: Array
    """Of the texts, in letters."""

    def sorted(self) -> "Hashes":
        """Return them by hash and, of one hash, by the length of their text; a substring that repeats is there once."""
        order = np.argsort(keys := self._keys(self.lengths), kind="stable")
        keys, rows, lengths = keys[order], self.rows[order], self.lengths[order]
        is_new = np.ones(len(keys), dtype=bool)
        is_new[1:] = (keys[1:] != keys[:-1]) | (rows[1:] != rows[:-1])
        return Hashes(keys[is_new], rows[is_new], lengths[is_new])

    def ranges(self, asked: "Hashes", shortest: Array, longest: Array) -> tuple[Array, Array]:
        """Return, for each asked substring, from where to where the same ones of texts of such lengths stand here."""
        first = np.searchsorted(self.hashes, asked._keys(shortest))
        return first, np.searchsorted(self.hashes, asked._keys(longest), side="right")

    def _keys(self, lengths: Array) -> Array:
        return (self.hashes & WITHOUT_LENGTH) | np.clip(lengths, 0, LARGEST_LENGTH).astype(np.uint64)


@dataclass(frozen=True)
class Reach:
    """How long the longer of two texts may be that are compared in one form."""

    factor: float
    added: int

    def longest(self, lengths: Array) -> Array:
        """Return the longest text that one of such a length may stand in or be like."""
        return np.maximum(np.ceil(lengths * self.factor).astype(np.int64), lengths + self.added)

    def shortest(self, lengths: Array) -> Array:
        """Return the shortest text that may be like one of such a length."""
        return np.maximum(np.minimum(np.floor(lengths / self.factor).astype(np.int64), lengths - self.added), 0)


class Form:
    """One form of some texts, cut into pieces."""

    def __init__(self, strings: Sequence[str], tags: Tags, similarity: float, reach: Reach) -> None:
        self.lengths = np.array([len(text) for text in strings], dtype=np.int64)
        self._codes = np.frombuffer("".join(strings).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        self._starts = np.cumsum(self.lengths) - self.lengths
        self._tags, self._similarity, self.reach = tags, similarity, reach
        self._piece_lengths = self._cut(np.arange(min(int(self.lengths.max(initial=0)), LONG) + 1))[1]
        self._piece_counts, self._own_lengths = self._cut(self.lengths)
        self._own_lengths = np.where(self.lengths < LONG, self._own_lengths, 0)
        self.steps: list[int] = np.unique(self._own_lengths[self.lengths > 0]).tolist()
        """The lengths that the texts are cut to, and 0 for the sample of long ones."""

    def pieces(self, step: int) -> Hashes:
        """Return the pieces of the texts that are cut to a length."""
        if step == 0:
            return self._sampled(np.flatnonzero(self.lengths >= LONG), half=False)
        rows = np.flatnonzero((self._own_lengths == step) & (self.lengths >= step))
        row, number = spread(rows, self._piece_counts[rows])
        at = self._starts[row] + number * (self.lengths[row] // self._piece_counts[row])
        return self._tagged(self._hashed(at, step), row, self._tags.asked)

    def substrings(self, step: int) -> Hashes:
        """Return the substrings of the texts in which pieces of a length may stand."""
        if step == 0:
            return self._sampled(np.flatnonzero(self.lengths >= LONG), half=True)
        is_cut = np.cumsum(self._piece_lengths == step)
        top = len(is_cut) - 1
        upper = is_cut[np.minimum(self.lengths, top)]
        lower = is_cut[np.minimum(self.reach.shortest(self.lengths), top + 1) - 1]
        lower = np.where(self.reach.shortest(self.lengths) > 0, lower, 0)
        rows = np.flatnonzero((upper > lower) & (self.lengths >= step))
        row, number = spread(rows, self.lengths[rows] - step + 1)
        return self._tagged(self._hashed(self._starts[row] + number, step), row, self._tags.held)

    def _cut(self, lengths: Array) -> tuple[Array, Array]:
        """Return into how many pieces of which length texts are cut."""
        # A letter in another place, as in a swap, is two edits.
        edits = np.maximum(2, np.floor((1 - self._similarity) * lengths + 1e-9).astype(np.int64))
        ladder = np.array(LADDER)
        found = ladder[np.clip(np.searchsorted(ladder, lengths // (edits + 1), side="right") - 1, 0, None)]
        return np.clip(lengths // found, 1, edits + 1), found

    def _sampled(self, rows: Array, *, half: bool) -> Hashes:
        """Return the substrings of long texts whose hash is divisible by a power of two, which grows with their length.

        A text that is up to twice as long as another may have the next power: in it the half is looked through.
        """
        power = np.floor(np.log2(self.lengths / LONG_SAMPLE, where=self.lengths > 0, out=np.zeros(len(self.lengths))))
        mask = (1 << np.maximum(power.astype(np.int64) - half, 0)).astype(np.uint64) - np.uint64(1)
        row, number = spread(rows, self.lengths[rows] - LONG_PIECE + 1)
        hashes = self._hashed(self._starts[row] + number, LONG_PIECE)
        is_chosen = (hashes >> np.uint64(40)) & mask[row] == 0
        return self._tagged(hashes[is_chosen], row[is_chosen], self._tags.held if half else self._tags.asked)

    def _hashed(self, at: Array, length: int) -> Array:
        found = np.zeros(len(at), dtype=np.uint64)
        for place in range(length):
            found = found * FACTOR + self._codes[at + place]
        return mixed(found)

    def _tagged(self, hashes: Array, rows: Array, tags: RowTags) -> Hashes:
        entry, number = spread(np.arange(len(rows)), tags.counts[rows])
        tag = tags.values[tags.starts[rows[entry]] + number]
        return Hashes(mixed(hashes[entry] ^ tag), rows[entry], self.lengths[rows[entry]])


def spread(rows: Array, counts: Array) -> tuple[Array, Array]:
    """Return each row as often as its count says, and which time it is."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(rows, counts), np.arange(total) - np.repeat(ends - counts, counts)


class Pieces:
    """Some texts, cut into pieces in both forms."""

    def __init__(self, texts: Sequence[Text], similarity: float) -> None:
        near = (2 - similarity) / similarity
        self.texts, self.similarity = texts, similarity
        self.joined = [text.joined for text in texts]
        self._substrings: dict[tuple[int, int], Hashes] = {}
        self._pieces: dict[tuple[int, int], Hashes] = {}
        self.forms = [
            Form(self.joined, more_numbers(texts), similarity, Reach(1 / CONTAINED_SHARE, 0)),
            Form(
                ["".join(sorted(text.words)) for text in texts],
                same_numbers(texts),
                similarity,
                Reach(near, INSERTED_CHARACTERS),
            ),
        ]

    @cached_property
    def signatures(self) -> Signatures:
        """What the texts are quickly compared by."""
        return signatures(self.texts, self.similarity)

    def substrings(self, form: int, step: int) -> Hashes:
        """Return the sorted substrings of a form, which are found once."""
        if (form, step) not in self._substrings:
            self._substrings[form, step] = self.forms[form].substrings(step).sorted()
        return self._substrings[form, step]

    def pieces(self, form: int, step: int) -> Hashes:
        """Return the sorted pieces of a form, which are found once."""
        if (form, step) not in self._pieces:
            self._pieces[form, step] = self.forms[form].pieces(step).sorted()
        return self._pieces[form, step]


def pairs_within(texts: Pieces) -> Array:
    """Return the pairs of numbers of texts that may resemble one another, the smaller number first, sorted."""
    own, found = texts.signatures, [np.zeros(0, dtype=np.int64)]
    size = len(own.characters)
    for form in texts.forms:
        for step in form.steps:
            cut, held = form.pieces(step), form.substrings(step).sorted()
            first, last = held.ranges(cut, cut.lengths, form.reach.longest(cut.lengths))
            for shorter, longer in _surviving(Join(cut.rows, held.rows, first, last), own, own):
                pairs = np.minimum(shorter, longer) * size + np.maximum(shorter, longer)
                found.append(np.unique(pairs[shorter != longer]))
    return _parted(found, size)


def pairs_between(asked: Pieces, held: Pieces) -> Array:
    """Return the pairs of an asked and a held text that may resemble one another, by their numbers, sorted."""
    size, found = len(held.texts), [np.zeros(0, dtype=np.int64)]
    for number, form in enumerate(asked.forms):
        for step in form.steps if held.texts else ():
            cut, parts = form.pieces(step), held.substrings(number, step)
            first, last = parts.ranges(cut, cut.lengths, form.reach.longest(cut.lengths))
            for shorter, longer in _surviving(
                Join(cut.rows, parts.rows, first, last), asked.signatures, held.signatures
            ):
                found.append(np.unique(shorter * size + longer))
        for step in held.forms[number].steps if asked.texts else ():
            parts, cut = form.substrings(step), held.pieces(number, step)
            first, last = cut.ranges(parts, form.reach.shortest(parts.lengths), parts.lengths)
            join = Join(parts.rows, cut.rows, first, last)
            for longer, shorter in _surviving(join, asked.signatures, held.signatures, is_longer=True):
                found.append(np.unique(longer * size + shorter))
    return _parted(found, size)


def _parted(found: Sequence[Array], size: int) -> Array:
    codes = np.unique(np.concatenate(found))
    return np.stack([codes // max(size, 1), codes % max(size, 1)], axis=1)


@dataclass(frozen=True)
class Join:
    """Asked entries, each with the range of entries that are the same."""

    asked: Array
    held: Array
    first: Array
    last: Array

    def blocks(self) -> list[tuple[int, int]]:
        """Return ranges of the asked entries with about `BLOCK_PAIRS` pairs each."""
        ends = np.cumsum(self.last - self.first)
        total = int(ends[-1]) if len(ends) else 0
        cuts = np.searchsorted(ends, np.arange(BLOCK_PAIRS, total, BLOCK_PAIRS)) + 1
        bounds = np.unique([0, *cuts.tolist(), len(ends)]).tolist()
        return list(pairwise(bounds)) if total else []

    def pairs(self, start: int, stop: int) -> tuple[Array, Array]:
        """Return the pairs of a block, as rows of the texts."""
        place, number = spread(np.arange(start, stop), self.last[start:stop] - self.first[start:stop])
        return self.asked[place], self.held[self.first[place] + number]


def _surviving(
    join: Join, asked: Signatures, held: Signatures, *, is_longer: bool = False
) -> Iterator[tuple[Array, Array]]:
    """Yield, block by block, the pairs whose signatures allow that they resemble one another."""

    def survivors(block: tuple[int, int]) -> tuple[Array, Array]:
        rows, columns = join.pairs(*block)
        may = may_resemble(held, asked, columns, rows) if is_longer else may_resemble(asked, held, rows, columns)
        return rows[may], columns[may]

    blocks = join.blocks()
    if len(blocks) < 2:
        yield from map(survivors, blocks)
    else:
        with ThreadPoolExecutor(os.cpu_count()) as threads:  # numpy lets other threads run meanwhile
            yield from threads.map(survivors, blocks)
