"""Finds near duplicates: texts that share a piece are candidates, and their edit distances decide.

What resembles what is said in resemblance.py, how candidates are found in near_pairs.py; both stand beside this file.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from train.data.cleaning import normalized
from train.data.near_duplicates.near_pairs import Pieces, pairs_between, pairs_within
from train.data.near_duplicates.pair_kinds import resembling
from train.data.near_duplicates.resemblance import Kind, Text, as_text

STRICTEST_FIRST: tuple[Kind, ...] = ("exact", "folded", "near", "contained")


def text_hash(text: str) -> str:
    """Return the hash by which exactly equal prompts are known."""
    return hashlib.sha256(normalized(text).encode()).hexdigest()


@dataclass(frozen=True)
class Match:
    """A text that was asked for resembles an indexed one."""

    asked: int
    found: int
    kind: Kind


class NearDuplicates:
    """An index of texts that answers which of them another one resembles."""

    def __init__(self, texts: Sequence[str], similarity: float) -> None:
        self._similarity = similarity
        self._texts = _Distinct(texts, similarity)

    def matches(self, texts: Sequence[str]) -> list[Match]:
        """Return every pair of an asked and an indexed text that resemble one another."""
        asked = _Distinct(texts, self._similarity)
        found = [
            Match(row, column, self._kind(asked, row, column, kind))
            for first, second, kind in self._alike(asked)
            for row in asked.members[first]
            for column in self._texts.members[second]
        ]
        return sorted(found, key=lambda match: (match.asked, match.found))

    def strictest(self, texts: Sequence[str]) -> list[Match]:
        """Return for each asked text that resembles any the first of those that it resembles most strictly.

        Of texts that are all the same `matches` would name every pair; here each is named once.
        """
        asked = _Distinct(texts, self._similarity)
        best: dict[int, tuple[int, int]] = {}
        for first, second, kind in self._alike(asked):
            for row in asked.members[first]:
                column = self._texts.first_like(second, asked.raw(row))
                rank = STRICTEST_FIRST.index(self._kind(asked, row, column, kind))
                best[row] = min(best.get(row, (rank, column)), (rank, column))
        return [Match(row, column, STRICTEST_FIRST[rank]) for row, (rank, column) in sorted(best.items())]

    def first_of_each_like(self, texts: Sequence[str]) -> list[tuple[int, int]]:
        """Return the number of each asked text with the first indexed text of every folded form that it resembles.

        Texts of one folded form are in one cluster, so that the first stands for all: of a thousand greetings and a
        thousand conversations that begin with one, `matches` would name a million pairs.
        """
        asked = _Distinct(texts, self._similarity)
        pairs = {(first, second) for first, second, _ in self._alike(asked)} if texts else set()
        return [
            (row, self._texts.members[second][0]) for first, second in sorted(pairs) for row in asked.members[first]
        ]

    def like(self, text: str) -> list[int]:
        """Return the numbers of the indexed texts that a text resembles."""
        return sorted(match.found for match in self.matches([text]))

    def pairs(self) -> list[Match]:
        """Return every pair of indexed texts that resemble one another, the smaller number first."""
        found = []
        for members in self._texts.members:
            for place, row in enumerate(members):
                found += [Match(row, column, self._kind(self._texts, row, column)) for column in members[place + 1 :]]
        pieces = self._texts.pieces
        for first, second, kind in resembling(pieces, pieces, pairs_within(pieces)):
            rows, columns = self._texts.members[first], self._texts.members[second]
            found += [Match(min(row, column), max(row, column), kind) for row in rows for column in columns]
        return sorted(found, key=lambda match: (match.asked, match.found))

    def clusters(self) -> list[int]:
        """Return, for each text, the number of the first text of its cluster."""
        pieces, members = self._texts.pieces, self._texts.members
        parents = list(range(len(members)))

        # What is joined already need not be compared: of a thousand alike, a thousand comparisons are enough.
        def is_apart(first: int, second: int) -> bool:
            return root(parents, first) != root(parents, second)

        for first, second, _ in resembling(pieces, pieces, pairs_within(pieces), is_apart):
            a, b = root(parents, first), root(parents, second)
            parents[max(a, b)] = min(a, b)
        return [members[root(parents, number)][0] for number in self._texts.numbers]

    def _alike(self, asked: "_Distinct") -> Iterator[tuple[int, int, Kind]]:
        """Yield the distinct texts that resemble one another, and how."""
        known = {text.folded: number for number, text in enumerate(self._texts.texts)}
        for number, text in enumerate(asked.texts):
            if text.folded in known:
                yield number, known[text.folded], "folded"
        pairs = pairs_between(asked.pieces, self._texts.pieces)
        for first, second, kind in resembling(asked.pieces, self._texts.pieces, pairs):
            if kind not in ("exact", "folded"):
                yield first, second, kind

    def _kind(self, asked: "_Distinct", row: int, column: int, kind: Kind = "folded") -> Kind:
        return "exact" if kind == "folded" and asked.raw(row) == self._texts.raw(column) else kind


class _Distinct:
    """Texts, those that are one once folded held once."""

    def __init__(self, texts: Sequence[str], similarity: float) -> None:
        self.texts: list[Text] = []
        self.members: list[list[int]] = []
        """The numbers of each distinct text, smallest first."""
        self.numbers: list[int] = []
        """Which distinct text each text is."""
        self._raw, self._similarity = texts, similarity
        known: dict[str, int] = {}
        for number, raw in enumerate(texts):
            text = as_text(raw)
            place = known.setdefault(text.folded, len(self.texts))
            if place == len(self.texts):
                self.texts.append(text)
                self.members.append([])
            self.members[place].append(number)
            self.numbers.append(place)

    @cached_property
    def pieces(self) -> Pieces:
        """The texts, cut into pieces."""
        return Pieces(self.texts, self._similarity)

    def raw(self, number: int) -> str:
        """Return a text as it was given."""
        return self._raw[number]

    def first_like(self, place: int, raw: str) -> int:
        """Return the number of the text of one folded form that is the same to the letter, else of the first one."""
        number = self._first_exact.get(raw)
        return self.members[place][0] if number is None or self.numbers[number] != place else number

    @cached_property
    def _first_exact(self) -> dict[str, int]:
        return {raw: number for number, raw in reversed(list(enumerate(self._raw)))}


def root(parents: list[int], number: int) -> int:
    """Return the root of a number in a forest of parents, and shorten the way there."""
    while parents[number] != number:
        parents[number] = parents[parents[number]]
        number = parents[number]
    return number
