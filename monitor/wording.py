"""Similarity of prompts, and new words and prompts, for a person to read."""

import re
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, vstack
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, HashingVectorizer
from sklearn.utils import murmurhash3_32

from monitor.calibration import Array
from monitor.observation import Observation

WORD = re.compile(r"[^\W\d_][\w'-]+")
HASHED_FEATURES = 2**14
"""Two words that share a number only blur the distance, and a window has some thousands of words and pairs."""

LEAST_WEIGHT = 0.1  # so that a text of nothing but words that all texts have still has a direction
# Hashing needs no vocabulary, so nothing is fitted to one side only: that would break exchangeability.
_VECTORIZER = HashingVectorizer(
    n_features=HASHED_FEATURES, ngram_range=(1, 2), alternate_sign=False, norm="l2", token_pattern=r"(?u)\b\w+\b"
)


def word_vectors(*parts: Sequence[str]) -> Any:
    """Return the hashed words and word pairs of one or two lots of texts as one sparse matrix; rows have length 1.

    Weighted by inverse document frequency among these very texts (Spärck Jones 1972): that of a pooled sample does not
    change when its rows are dealt out again, so that the comparison stays fair.
    """
    counts = vstack([_hashed(tuple(part)) for part in parts])
    in_texts = np.bincount(counts.indices, minlength=HASHED_FEATURES)
    counts.data *= np.log((1 + counts.shape[0]) / (1 + in_texts))[counts.indices] + LEAST_WEIGHT
    rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    lengths = np.sqrt(np.bincount(rows, np.square(counts.data), counts.shape[0]))
    counts.data /= lengths[rows]  # of a text with words: each weighs at least LEAST_WEIGHT
    return counts


# Of the reference, which is the same at each check, and of a window, which is compared twice.
@lru_cache(maxsize=8)
def _hashed(texts: tuple[str, ...]) -> Any:
    """Return what the vectorizer makes of texts, in half of its time: most words were met before."""
    ends, columns = [0], array("i")
    for text in texts:
        columns.extend(map(_column_of, _words_and_pairs(text)))
        ends.append(len(columns))
    counts = csr_matrix((np.ones(len(columns)), np.asarray(columns), ends), shape=(len(texts), HASHED_FEATURES))
    counts.sum_duplicates()
    rows = np.repeat(np.arange(len(texts)), np.diff(counts.indptr))
    counts.data /= np.sqrt(np.bincount(rows, np.square(counts.data), len(texts)))[rows]
    return counts


_words_and_pairs: Callable[[str], list[str]] = _VECTORIZER.build_analyzer()


@lru_cache(maxsize=100_000)
def _column_of(word: str) -> int:
    return int(abs(murmurhash3_32(word)) % HASHED_FEATURES)


def similarity(texts: Sequence[str]) -> Array:
    """Return the cosine similarities of texts' hashed words and word pairs, of shape (texts, texts)."""
    vectors = word_vectors(texts)
    return np.asarray((vectors @ vectors.T).toarray(), dtype=np.float64)


def shifted_words(reference: Sequence[Observation], current: Sequence[Observation], count: int = 15) -> list[str]:
    """Return the words whose share of messages grew most; those that any sentence has tell nothing and are left out."""
    before, after = _word_shares(reference), _word_shares(current)
    growth = {w: share - before.get(w, 0.0) for w, share in after.items() if w not in ENGLISH_STOP_WORDS}
    return sorted((word for word in growth if growth[word] > 0), key=lambda word: -growth[word])[:count]


def strangest(reference: Sequence[Observation], current: Sequence[Observation]) -> list[str]:
    """Return the five prompts of the window that are least like anything in the reference."""
    kernel = similarity([r.prompt for r in (*reference, *current)])
    nearest = kernel[len(reference) :, : len(reference)].max(axis=1)
    return [current[i].prompt for i in np.argsort(nearest)[:5]]


def _word_shares(rows: Sequence[Observation]) -> dict[str, float]:
    counts = Counter(word for row in rows for word in set(WORD.findall(row.prompt.lower())))
    return {word: n / max(1, len(rows)) for word, n in counts.items()}
