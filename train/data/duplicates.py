"""Near-duplicate detection: shared trigrams find the candidates, edit distances decide.

Whether two texts resemble one another depends on the two alone, in either order, never on what else is looked through:
so rows that were parted as unlike are still unlike when a larger set is checked.

Two texts resemble one another if one of these holds, the strictest first:
  exact      the bytes are the same;
  folded     the same but for case, spacing, accents, punctuation, invisible or look-alike characters;
  near       the same words in any order, typos and one small word forgiven, but for `1 - similarity` of their letters;
  contained  one stands in the other, typos forgiven as above, and is at least half of it.
The last two ask that both name the same numbers: `order 4471` and `order 9082` are two questions.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from rapidfuzz import fuzz
from rapidfuzz.distance import OSA
from sklearn.feature_extraction.text import HashingVectorizer

from train.data.cleaning import folded, normalized

Kind = Literal["exact", "folded", "near", "contained"]

NUMBER = re.compile(r"\d+")
SAMPLED_TRIGRAMS = 24
"""Trigrams of a text that are looked up, chosen by hash; a pair is compared if half of either's are in the other."""
CHUNK_ROWS = 512
CONTAINED_CHARACTERS = 11
"""Shorter texts stand in too many others by chance."""
CONTAINED_SHARE = 0.5
INSERTED_CHARACTERS, INSERTED_AMONG_WORDS = 6, 3
"""One small word may be inserted anywhere (`please`, `still`), but not into a text of two words."""


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
        self._texts = [_Text(text) for text in texts]
        self._trigrams = _trigrams(self._texts)
        self._sample = _sample(self._trigrams)
        self._lengths = _lengths(self._texts)

    def matches(self, texts: Sequence[str]) -> list[Match]:
        """Return every pair of an asked and an indexed text that resemble one another."""
        asked = [_Text(text) for text in texts]
        trigrams = _trigrams(asked)
        found = []
        for row, column in self._candidates(trigrams, _sample(trigrams), _lengths(asked)):
            if kind := _resemblance(asked[row], self._texts[column], self._similarity):
                found.append(Match(row, column, kind))
        return found

    def like(self, text: str) -> list[int]:
        """Return the numbers of the indexed texts that a text resembles."""
        return sorted(match.found for match in self.matches([text]))

    def pairs(self) -> list[Match]:
        """Return every pair of indexed texts that resemble one another, the smaller number first."""
        found = []
        for row, column in self._candidates(self._trigrams, self._sample, self._lengths):
            if row < column and (kind := _resemblance(self._texts[row], self._texts[column], self._similarity)):
                found.append(Match(row, column, kind))
        return found

    def clusters(self) -> list[int]:
        """Return, for each text, the number of the first text of its cluster."""
        parents = list(range(len(self._texts)))
        for match in self.pairs():
            a, b = sorted((root(parents, match.asked), root(parents, match.found)))
            parents[b] = a
        return [root(parents, number) for number in range(len(parents))]

    def _candidates(self, trigrams: Any, sample: Any, lengths: Any) -> Iterator[tuple[int, int]]:
        """Yield the pairs of like length in which half of one text's sampled trigrams occur in the other."""
        if not self._texts:
            return
        asked_need, own_need = _half(sample), _half(self._sample)
        everything, sampled = self._trigrams.T.tocsr(), self._sample.T.tocsr()
        for start in range(0, trigrams.shape[0], CHUNK_ROWS):
            part = slice(start, start + CHUNK_ROWS)
            by_asked, by_own = (sample[part] @ everything).tocoo(), (trigrams[part] @ sampled).tocoo()
            kept = [by_asked.data >= asked_need[part][by_asked.row], by_own.data >= own_need[by_own.col]]
            rows = np.concatenate([by_asked.row[kept[0]], by_own.row[kept[1]]]).astype(np.int64)
            columns = np.concatenate([by_asked.col[kept[0]], by_own.col[kept[1]]])
            codes = np.unique(rows * len(self._texts) + columns)
            rows, columns = codes // len(self._texts) + start, codes % len(self._texts)
            shorter = np.minimum(lengths[rows], self._lengths[columns])
            alike = shorter >= CONTAINED_SHARE * np.maximum(lengths[rows], self._lengths[columns])
            yield from zip(rows[alike].tolist(), columns[alike].tolist(), strict=True)


def root(parents: list[int], number: int) -> int:
    """Return the root of a number in a forest of parents, and shorten the way there."""
    while parents[number] != number:
        parents[number] = parents[parents[number]]
        number = parents[number]
    return number


class _Text:
    """A text in the forms that are compared."""

    __slots__ = ("folded", "joined", "numbers", "raw", "words")

    def __init__(self, raw: str) -> None:
        self.raw = raw
        self.folded = folded(raw)
        self.words = self.folded.split()
        self.joined = "".join(self.words)
        self.numbers = Counter(NUMBER.findall(self.folded))


def _resemblance(a: _Text, b: _Text, similarity: float) -> Kind | None:
    """Return how two texts resemble one another, or None."""
    if a.folded == b.folded:
        return "exact" if a.raw == b.raw else "folded"
    # Which words pair as typos may hang on the order, so there is one.
    shorter, longer = sorted((a, b), key=lambda text: (len(text.joined), text.folded))
    if a.numbers == b.numbers and _is_near(longer, shorter, similarity):
        return "near"
    return "contained" if shorter.numbers <= longer.numbers and _is_contained(shorter, longer, similarity) else None


def _is_near(a: _Text, b: _Text, similarity: float) -> bool:
    """Ask whether the words agree, or, where a typo joined or parted words, the letters."""
    total = len(a.joined) + len(b.joined)
    if abs(len(a.joined) - len(b.joined)) > max(INSERTED_CHARACTERS, (1 - similarity) * total):
        return False
    allowed = (1 - similarity) * total / 2
    edits = max(1, min(2, int(allowed)), int(allowed / 2))
    if OSA.distance(a.joined, b.joined, score_cutoff=edits) <= edits:
        return True
    rest_a, rest_b = _without_common(a.words, b.words)
    typos = max(2, len(a.words) // 3)
    if len(rest_a) + len(rest_b) > 2 * typos + max(1, allowed):
        return False
    left_a, left_b = _without_typos(rest_a, rest_b, typos)
    if sum(map(len, left_a + left_b)) <= allowed:
        return True
    inserted = left_a + left_b if not left_a or not left_b else []
    is_one_word = len(inserted) == 1 and len(inserted[0]) <= INSERTED_CHARACTERS
    return is_one_word and min(len(a.words), len(b.words)) >= INSERTED_AMONG_WORDS


def _without_common(a: Sequence[str], b: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words of each that the other does not have."""
    rest_a, rest_b = [], list(b)
    for word in a:
        if word in rest_b:
            rest_b.remove(word)
        else:
            rest_a.append(word)
    return rest_a, rest_b


def _without_typos(rest_a: list[str], rest_b: list[str], typos: int) -> tuple[list[str], list[str]]:
    """Return the words of each that are no typo of one of the other's; at most that many may be typos."""
    left_a, left_b = [], list(rest_b)
    for word in rest_a:
        partner = next((other for other in left_b if _is_typo(word, other)), None) if typos else None
        if partner is None:
            left_a.append(word)
        else:
            left_b.remove(partner)
            typos -= 1
    return left_a, left_b


def _is_typo(a: str, b: str) -> bool:
    shorter = min(len(a), len(b))
    edits = 2 if shorter >= 8 else 1
    return (
        max(len(a), len(b)) >= 2 and abs(len(a) - len(b)) <= edits and OSA.distance(a, b, score_cutoff=edits) <= edits
    )


def _is_contained(shorter: _Text, longer: _Text, similarity: float) -> bool:
    characters = len(shorter.joined)
    if characters < max(CONTAINED_CHARACTERS, CONTAINED_SHARE * len(longer.joined)):
        return False
    least = 100 * (1 - max((1 - similarity) / 2, 1 / characters)) - 0.01
    return bool(fuzz.partial_ratio(shorter.joined, longer.joined, score_cutoff=least))


def _trigrams(texts: Sequence[_Text]) -> Any:
    """Return the sparse matrix of texts and the trigrams of their words."""
    hashing = HashingVectorizer(
        analyzer="char_wb",
        ngram_range=(3, 3),
        n_features=2**18,
        lowercase=False,
        norm=None,
        alternate_sign=False,
        binary=True,
        dtype=np.float32,
    )
    return hashing.transform([text.folded for text in texts] or [""])[: len(texts)]


def _sample(trigrams: Any) -> Any:
    """Return the matrix with a sample of each text's trigrams: those of the smallest hashes, which are its columns."""
    import scipy.sparse

    starts, columns = [0], []
    for first, last in pairwise(trigrams.indptr):
        columns.append(np.sort(trigrams.indices[first:last])[:SAMPLED_TRIGRAMS])
        starts.append(starts[-1] + len(columns[-1]))
    indices = np.concatenate(columns) if columns else np.array([], dtype=np.int32)
    data = np.ones(len(indices), dtype=np.float32)
    return scipy.sparse.csr_matrix((data, indices, starts), shape=trigrams.shape)


def _lengths(texts: Sequence[_Text]) -> Any:
    return np.array([len(text.joined) for text in texts], dtype=np.int64)


def _half(sample: Any) -> Any:
    return np.ceil(np.diff(sample.indptr) / 2)
