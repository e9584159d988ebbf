"""Observations become numbers, categories and a similarity matrix that drift statistics can compare."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import HashingVectorizer

from monitor.calibration import Array
from monitor.windows import Observation

WORD = re.compile(r"[^\W\d_][\w'-]+")
HASHED_FEATURES = 2**14
NO_LABEL = "(none)"

# Hashing needs no vocabulary, so nothing is fitted to one side only: that would break exchangeability.
_VECTORIZER = HashingVectorizer(
    n_features=HASHED_FEATURES, ngram_range=(1, 2), alternate_sign=False, norm="l2", token_pattern=r"(?u)\b\w+\b"
)


def similarity(texts: Sequence[str]) -> Array:
    """Return the cosine similarities of texts' hashed words and word pairs, of shape (texts, texts)."""
    vectors = _VECTORIZER.transform(texts)
    return np.asarray((vectors @ vectors.T).toarray(), dtype=np.float64)


def input_numbers(rows: Sequence[Observation]) -> dict[str, Array]:
    """Return the numeric features of the prompts."""
    return {
        "prompt_words": np.array([len(r.prompt.split()) for r in rows], dtype=np.float64),
        "prompt_characters": np.array([len(r.prompt) for r in rows], dtype=np.float64),
    }


def output_numbers(rows: Sequence[Observation]) -> dict[str, Array]:
    """Return the numeric features of the answers."""
    return {"answer_characters": np.array([len(r.answer) for r in rows], dtype=np.float64)}


def labels(rows: Sequence[Observation]) -> list[str]:
    """Return the label that each answer claims."""
    return [row.label or NO_LABEL for row in rows]


def frame(rows: Sequence[Observation]) -> pd.DataFrame:
    """Return the features as the table that the Evidently report draws."""
    latency = {"latency_seconds": np.array([r.latency_seconds for r in rows], dtype=np.float64)}
    known = {
        "answer_label": labels(rows),
        "has_label": [str(row.label is not None) for row in rows],
        "is_empty": [str(not row.answer.strip()) for row in rows],
    }
    return pd.DataFrame({**input_numbers(rows), **output_numbers(rows), **latency, **known})


def shifted_words(reference: Sequence[Observation], current: Sequence[Observation], count: int = 15) -> list[str]:
    """Return the words whose share of messages grew most, for a person to read."""
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
