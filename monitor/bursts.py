"""How bursty rows are: products of neighbours at each lag, and the design effects that follow from them; pure.

The variance of a mean of dependent rows is that of independent ones times 1 + 2 (r_1 + r_2 + ...), with the
autocorrelations r_k (Kish, Survey Sampling, 1965; Anderson, Statistical Analysis of Time Series, 1971, ch. 8). For
labels and words, r_k is how much more often rows that are k apart agree than any two rows do; all labels tell it
together, so that one window is enough to know it. A single signal is too noisy for that: how much of the bursts it
takes part in is estimated by one number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from monitor.calibration import Array
from monitor.row_signals import SIGNALS, Signalled

LAGS = 25
"""Rows apart that are looked at; of a window of 200 an eighth."""
FEWEST_ROWS = 2 * LAGS
CHUNK_ROWS = 500
"""Rows whose similarities are in memory at once."""


@dataclass(frozen=True)
class Lagged:
    """How alike rows are that are 0, 1, 2 ... apart, beyond any two rows."""

    sums: Array
    spread: float
    """Variance of the likeness of any two rows, where a row's likeness with itself is 1."""

    @property
    def correlations(self) -> Array:
        """The autocorrelations, from one row apart."""
        return np.asarray(self.sums[1:] / max(1e-9, float(self.sums[0])))


@dataclass(frozen=True)
class Bursts:
    """What tells how bursty rows are, of windows that may be added up."""

    rows: int
    windows: int
    labels: Lagged
    texts: Lagged
    signals: Array
    """Autocorrelations of the signals' ranks, times the rows, of shape (lags + 1, signals)."""


NOTHING = Lagged(np.zeros(LAGS + 1), 0.0)
NO_BURSTS = Bursts(0, 0, NOTHING, NOTHING, np.zeros((LAGS + 1, len(SIGNALS))))


def bursts_of(signalled: Signalled) -> Bursts:
    """Return how alike rows are in their order."""
    count = len(signalled.rows)
    if count < FEWEST_ROWS:
        return NO_BURSTS
    names = [
        row.observation.label if row.observation.label is not None else row.nearest_label for row in signalled.rows
    ]
    labels = np.unique(np.array([str(name) for name in names]), return_inverse=True)[1].astype(np.int64)
    return Bursts(count, 1, _of_labels(labels), _of_texts(signalled.vectors), _of_signals(signalled.values))


def _of_labels(labels: npt.NDArray[np.int64]) -> Lagged:
    rows = len(labels)
    # Without each row with itself.
    any_two = float((np.square(np.bincount(labels)).sum() - rows) / (rows * (rows - 1)))
    sums = [(labels[lag:] == labels[: rows - lag]).sum() - (rows - lag) * any_two for lag in range(LAGS + 1)]
    return Lagged(np.array(sums, dtype=np.float64), any_two / max(1e-3, 1 - any_two))


def _of_texts(vectors: Any) -> Lagged:
    rows = vectors.shape[0]
    total, squares = np.asarray(vectors.sum(axis=0)).ravel(), float(vectors.multiply(vectors).sum())
    any_two = (float(total @ total) - squares) / (rows * (rows - 1))
    sums, spread, pairs = np.zeros(LAGS + 1), 0.0, 0
    for start in range(0, rows, CHUNK_ROWS):
        chunk = vectors[start : start + CHUNK_ROWS]
        gram = (chunk @ chunk.T).toarray() - any_two
        sums += [float(np.trace(gram, offset=lag)) for lag in range(LAGS + 1)]
        spread += float(np.square(gram).sum() - np.square(np.diagonal(gram)).sum())
        pairs += len(gram) * (len(gram) - 1)
    return Lagged(sums, spread / max(1, pairs) / max(1e-9, (float(sums[0]) / rows) ** 2))


def _of_signals(values: Array) -> Array:
    """Return the sums of ranks, because one long row must not decide."""
    ranks = np.empty_like(values)
    for column in range(values.shape[1]):
        _, place, counts = np.unique(values[:, column], return_inverse=True, return_counts=True)
        ranks[:, column] = (np.cumsum(counts) - (counts + 1) / 2)[place]
    centered = ranks - ranks.mean(axis=0)
    rows = len(centered)
    sums = np.array([(centered[lag:] * centered[: rows - lag]).sum(axis=0) for lag in range(LAGS + 1)])
    return np.asarray(rows * sums / np.maximum(sums[:1], 1e-9))


def pooled(parts: Sequence[Bursts]) -> Bursts:
    """Add windows up."""

    def summed(lagged: Sequence[Lagged]) -> Lagged:
        return Lagged(np.sum([one.sums for one in lagged], axis=0), float(np.mean([one.spread for one in lagged])))

    return Bursts(
        sum(part.rows for part in parts),
        sum(part.windows for part in parts),
        summed([part.labels for part in parts]),
        summed([part.texts for part in parts]),
        np.sum([part.signals for part in parts], axis=0),
    )


def design_effects(bursts: Bursts) -> tuple[float, Array]:
    """Return the design effect of words and labels, and that of each signal; 1 at least."""
    if bursts.rows == 0:
        return 1.0, np.ones(len(SIGNALS))
    common = max(_effect(bursts, bursts.labels), _effect(bursts, bursts.texts))
    labels, texts = bursts.labels.correlations, bursts.texts.correlations
    signals = bursts.signals[1:] / np.maximum(bursts.signals[:1], 1e-9)
    noise = 1 / np.sqrt(bursts.rows)
    own = 1 + 2 * signals.sum(axis=0) - 2 * noise * np.sqrt(LAGS)
    shape = np.maximum(0.0, labels if labels.sum() > texts.sum() else texts)
    length = float(np.sqrt(shape @ shape))
    part = np.clip((shape @ signals / max(1e-3, length) + noise) / max(1e-3, length), 0, 1)
    return common, np.asarray(np.maximum(np.maximum(1.0, own), 1 + part * (common - 1)))


def _effect(bursts: Bursts, lagged: Lagged) -> float:
    """Return the design effect less its standard error: without bursts the sum over so many lags is nothing else."""
    # What any two rows of a window have in common holds its bursts, too, and was taken away from each lag.
    kept = max(0.5, 1 - 2 * LAGS * bursts.windows / bursts.rows)
    error = 2 * np.sqrt(LAGS * lagged.spread / bursts.rows)
    return max(1.0, 1 + (2 * float(lagged.correlations.sum()) - float(error)) / kept)
