"""Confidence intervals: Wilson's for a share, Tango's for the difference of two shares of the same items."""

import math
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np

CONFIDENCE = 0.95
"""Of the intervals that are shown; the gate decides by exact tests at levels of its own."""
HALVINGS = 50
"""Of an interval that is at most 2 wide: 2e-15 is left of it."""

Interval = tuple[float, float]


def share_interval(successes: int, trials: int) -> Interval | None:
    """Return Wilson's score interval of a share (E. B. Wilson, JASA 22, 1927, 209-212); None without trials."""
    if trials == 0:
        return None
    z, share = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2), successes / trials
    center = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    reach = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2)
    return max(0.0, center - reach), min(1.0, center + reach)


@lru_cache(maxsize=65536)
def paired_interval(gained: int, lost: int, items: int, confidence: float = CONFIDENCE) -> Interval:
    """Return the score interval of a paired difference (T. Tango, Statistics in Medicine 17, 1998, 891-908).

    `gained` items are right only on the second side, `lost` ones only on the first; the difference is second
    minus first.
    """
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    center = (gained - lost) / items
    return _root(gained, lost, items, z, -1.0, center), _root(gained, lost, items, -z, center, 1.0)


def tango_statistic(gained: Any, lost: Any, items: int, difference: float) -> Any:
    """Return the distance from `difference` in standard errors under it; counts may be numbers or arrays."""
    a = 2 * items
    b = -gained - lost + (2 * items - gained + lost) * difference
    c = -lost * difference * (1 - difference)
    lost_share = (np.sqrt(np.maximum(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = items * (2 * lost_share + difference * (1 - difference))
    distance = gained - lost - items * difference
    return distance / np.sqrt(np.maximum(variance, 1e-300))


def _root(gained: int, lost: int, items: int, goal: float, low: float, high: float) -> float:
    """Return the difference at which Tango's statistic, which falls as the difference grows, equals `goal`."""
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if tango_statistic(gained, lost, items, middle) > goal else (low, middle)
    return (low + high) / 2
