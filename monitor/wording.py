"""How alike prompts are, and which words and prompts are new, for a person to read."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer

from monitor.calibration import Array
from monitor.observation import Observation

WORD = re.compile(r"[^\W\d_][\w'-]+")
HASHED_FEATURES = 2**14
"""Two words that share a number only blur the distance, and a window has some thousands of words and pairs."""

# Hashing needs no vocabulary, so nothing is fitted to one side only: that would break exchangeability.
_VECTORIZER = HashingVectorizer(
    n_features=HASHED_FEATURES, ngram_range=(1, 2), alternate_sign=False, norm="l2", token_pattern=r"(?u)\b\w+\b"
)


def word_vectors(texts: Sequence[str]) -> Any:
    """Return the hashed words and word pairs of texts as a sparse matrix (texts, hashes); each row has length 1."""
    return _VECTORIZER.transform(texts)


def similarity(texts: Sequence[str]) -> Array:
    """Return the cosine similarities of texts' hashed words and word pairs, of shape (texts, texts)."""
    vectors = word_vectors(texts)
    return np.asarray((vectors @ vectors.T).toarray(), dtype=np.float64)


def shifted_words(reference: Sequence[Observation], current: Sequence[Observation], count: int = 15) -> list[str]:
    """Return the words whose share of messages grew most."""
    before, after = _word_shares(reference), _word_shares(current)
    growth = {word: share - before.get(word, 0.0) for word, share in after.items()}
    return sorted(growth, key=lambda word: -growth[word])[:count]


def strangest(reference: Sequence[Observation], current: Sequence[Observation], count: int = 5) -> list[str]:
    """Return the window's prompts least like anything in the reference."""
    kernel = similarity([r.prompt for r in (*reference, *current)])
    nearest = kernel[len(reference) :, : len(reference)].max(axis=1)
    return [current[i].prompt for i in np.argsort(nearest)[:count]]


def _word_shares(rows: Sequence[Observation]) -> dict[str, float]:
    counts = Counter(word for row in rows for word in set(WORD.findall(row.prompt.lower())))
    return {word: n / max(1, len(rows)) for word, n in counts.items()}
