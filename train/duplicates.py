"""Texts become clusters of near duplicates: MinHash finds the candidates, exact Jaccard similarity decides."""

import hashlib
from collections.abc import Sequence

from datasketch import MinHash, MinHashLSH

from train.cleaning import normalized

SHINGLE_CHARACTERS = 3
PERMUTATIONS = 64
CANDIDATE_MARGIN = 0.15
"""MinHash looks this far below the wanted similarity, so that its own error loses few pairs."""


def text_hash(text: str) -> str:
    """Return the hash by which exactly equal prompts are known."""
    return hashlib.sha256(normalized(text).encode()).hexdigest()


def shingles(text: str) -> frozenset[str]:
    """Return a text's overlapping runs of three characters."""
    text = normalized(text)
    return frozenset(text[i : i + SHINGLE_CHARACTERS] for i in range(max(1, len(text) - SHINGLE_CHARACTERS + 1)))


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    """Return the share of shingles that two texts have in common."""
    return len(a & b) / max(1, len(a | b))


class NearDuplicates:
    """An index of texts that answers which of them are near duplicates of another."""

    def __init__(self, texts: Sequence[str], similarity: float) -> None:
        self._similarity = similarity
        self._shingles = [shingles(text) for text in texts]
        self._index = MinHashLSH(threshold=max(0.1, similarity - CANDIDATE_MARGIN), num_perm=PERMUTATIONS)
        self._sketches = [_sketch(s) for s in self._shingles]
        for number, sketch in enumerate(self._sketches):
            self._index.insert(number, sketch)

    def like(self, text: str) -> list[int]:
        """Return the numbers of the indexed texts that are near duplicates of a text."""
        return self._matches(shingles(text), _sketch(shingles(text)))

    def clusters(self) -> list[int]:
        """Return, for each text, the number of the first text of its cluster."""
        parents = list(range(len(self._shingles)))

        def root(number: int) -> int:
            while parents[number] != number:
                parents[number] = parents[parents[number]]
                number = parents[number]
            return number

        for number, (own, sketch) in enumerate(zip(self._shingles, self._sketches, strict=True)):
            for other in self._matches(own, sketch):
                a, b = sorted((root(number), root(other)))
                parents[b] = a
        return [root(number) for number in range(len(parents))]

    def _matches(self, own: frozenset[str], sketch: MinHash) -> list[int]:
        found = self._index.query(sketch)
        return [n for n in found if jaccard(own, self._shingles[n]) >= self._similarity]


def _sketch(own: frozenset[str]) -> MinHash:
    sketch = MinHash(num_perm=PERMUTATIONS, seed=1)
    sketch.update_batch([s.encode() for s in own])
    return sketch
