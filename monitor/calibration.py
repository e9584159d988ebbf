"""Calibrates thresholds from permutation values to the false-alarm rate of the declared drift budget.

Under "nothing has changed" reference and window are exchangeable, so every way of dealing their pooled rows out
again is as likely as the one that was seen (Good, Permutation, Parametric and Bootstrap Tests, 3rd ed., ch. 3).
Several features are judged as one by the largest standardized statistic (Westfall and Young 1993), which needs no
further correction. Levels beyond the resolution of the permutations come from a Gumbel fit to their maxima; its
tail is heavier than that of the statistics in use, so it errs on the quiet side.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
EULER_GAMMA = 0.5772156649015329
DAYS_PER_MONTH = 30
DECISIONS_PER_CHECK = 3
"""Input, output and quality are decided apart and share the budget."""


@dataclass(frozen=True)
class Judgment:
    """The family of features of one kind, judged together."""

    score: float
    """Largest standardized statistic."""
    threshold: float
    p_value: float
    feature_scores: Array
    feature_p_values: Array
    beyond: int
    """How many of the permutations are as far out as the score, or further."""

    @property
    def is_over(self) -> bool:
        """Whether the score is beyond the threshold."""
        return self.score > self.threshold


def level_per_decision(false_alarms_per_month: float, windows_per_day: float) -> float:
    """Return the false-alarm probability that one decision on one window may have.

    Persistence only lowers the rate further; it earns no credit here, because windows that share a reference are
    not independent.
    """
    decisions = windows_per_day * DAYS_PER_MONTH * DECISIONS_PER_CHECK
    # However large the budget is: what is over by chance once in twenty windows is no alarm.
    return min(0.05, false_alarms_per_month / decisions)


def judge(observed: Array, permuted: Array, level: float) -> Judgment:
    """Judge statistics of shape (features,) against their permuted values of shape (permutations, features)."""
    mean, deviation = permuted.mean(axis=0), permuted.std(axis=0)
    # A feature that does not vary has no scale; left at 1, its score is 0 and decides nothing.
    deviation = np.where(deviation > 1e-12, deviation, 1.0)
    scores = (observed - mean) / deviation
    maxima = ((permuted - mean) / deviation).max(axis=1)
    score = float(scores.max())
    # What was seen is one of the dealings, so that no p-value is ever 0 (Phipson and Smyth 2010).
    exceeding = (1 + np.sum(permuted >= observed - 1e-12, axis=0)) / (1 + len(permuted))
    return Judgment(
        score=score,
        threshold=threshold_at(maxima, level),
        p_value=tail_probability(maxima, score),
        feature_scores=scores,
        feature_p_values=exceeding.astype(np.float64),
        beyond=int(np.sum(maxima >= score)),
    )


def threshold_at(maxima: Array, level: float) -> float:
    """Return the value that the maximum exceeds with the given probability: the larger of count and fit."""
    location, scale = _gumbel(maxima)
    fitted = location - scale * math.log(-math.log1p(-level))
    counted = float(np.quantile(maxima, 1 - level))
    # The larger one errs on the quiet side: the budget of false alarms is a promise.
    return max(fitted, counted)


def tail_probability(maxima: Array, score: float) -> float:
    """Return the probability of such a score or a larger one: counted where that can be, else fitted."""
    count = int(np.sum(maxima >= score))
    # Ten tell their share to about a third; fewer are left to the fit.
    if count >= 10:
        return (1 + count) / (1 + len(maxima))
    location, scale = _gumbel(maxima)
    fitted = -math.expm1(-math.exp(-(score - location) / scale))
    return max(fitted, 1e-300) if count == 0 else max(fitted, count / len(maxima))


def _gumbel(maxima: Array) -> tuple[float, float]:
    """Return location and scale of the Gumbel distribution with the same mean and variance."""
    scale = max(float(maxima.std()) * math.sqrt(6) / math.pi, 1e-9)
    return float(maxima.mean()) - EULER_GAMMA * scale, scale
