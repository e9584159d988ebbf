"""Tests and intervals for the mean of bounded numbers, valid for any distribution and any number of them.

One bets against the claim that the mean is at most m: each number x multiplies the wealth by 1 + bet * (x - m), with a
bet so small that nothing below the least possible number ruins. Were the claim true, the wealth would not grow in
expectation, so that it reaches 1 / level with a chance of at most the level (Waudby-Smith and Ramdas, JRSS B 86, 2024,
1-27). The wealth is the mean over bets of all sizes (Orabona and Jun, IEEE Transactions on Information Theory 70, 2024,
436-455): no size has to be guessed, and the order of the numbers plays no part.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

SIZES = np.linspace(0.0, 1.0, 52)[1:-1]
"""Bets, as shares of the most that could be bet; fifty cost at most log(50) = 3.9 nats, and 2 in practice."""
HALVINGS = 16
"""Of a range of 2, or of six standard errors where these hold the end: 3e-5 is left of it, less than a grade means."""

Interval = tuple[float, float]


def mean_p(values: Sequence[float] | Any, mean: float, *, low: float) -> float:
    """Return a p-value for the claim that numbers which are at least `low` have a mean of at most `mean`."""
    return min(1.0, math.exp(-min(log_wealth(values, mean, low=low), 700.0)))


def log_wealth(values: Sequence[float] | Any, mean: float, *, low: float) -> float:
    """Return the logarithm of the wealth of who bet that the mean is above `mean`."""
    numbers, counts = np.unique(np.asarray(values, dtype=float), return_counts=True)
    # All bets shrink where the sum is not above the claim: log(1 + x) <= x.
    if mean <= low or float(counts @ (numbers - mean)) <= 0:
        return math.inf if mean < low else 0.0
    logs = np.log1p(np.outer(SIZES / (mean - low), numbers - mean)) @ counts
    most = float(logs.max())
    return most + math.log(float(np.exp(logs - most).mean()))


def mean_interval(
    values: Sequence[float] | Any, *, low: float = 0.0, high: float = 1.0, confidence: float = 0.95
) -> Interval:
    """Return the interval of the mean of numbers from `low` to `high`; without any it is that range."""
    numbers = np.asarray(values, dtype=float)
    if not numbers.size:
        return low, high
    enough = math.log(2 / (1 - confidence))
    return _lower_end(numbers, low, enough), -_lower_end(-numbers, -high, enough)


def lower_bound(values: Sequence[float] | Any, *, low: float = 0.0, level: float = 0.05) -> float:
    """Return what the mean exceeds, one-sided: a higher bound is wrong with a chance of at most the level."""
    numbers = np.asarray(values, dtype=float)
    return _lower_end(numbers, low, math.log(1 / level)) if numbers.size else low


def _lower_end(values: Any, low: float, enough: float) -> float:
    """Return the least mean that the wealth does not speak against; the wealth falls as the claim rises."""
    below, above = low, float(values.mean())
    near = above - 6 * float(values.std()) / math.sqrt(len(values)) - 1e-3
    if near > low and log_wealth(values, near, low=low) >= enough:
        below = near
    for _ in range(HALVINGS):
        middle = (below + above) / 2
        below, above = (middle, above) if log_wealth(values, middle, low=low) >= enough else (below, middle)
    return below
