"""Statistics of paired grades: what `paired.py` is for right and wrong answers, for answers that are good by degrees.

The grades of two models on the same items differ by numbers from -1 to 1, of any distribution: a fine-tune may gain a
little on most answers and lose all of a few. A test that takes signs for coin tosses, or means for normal, promotes
such a one. What promotes is therefore a bet on the mean (`driftwheel/evidence/bounded_means.py`), which holds for
whatever is bounded. What alarms over the loss of a small slice asks only whether equal models would differ so, whose
signs are coin tosses: the exact permutation test of Fisher (1935), which sees more with few items.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist, fmean
from typing import Any

import numpy as np

from driftwheel.evidence.bounded_means import SIZES, mean_interval, mean_p
from train.verdict.paired import POWER

STEPS = 200
"""Differences are rounded to steps of half a point for the permutation test, which stays exact for the rounded ones."""
MIXING = 2.0
"""Nats at least that the mean over all bets costs beside the best one; with many items fewer bets are good."""
LEAST_VARIANCE = 1e-4
"""Of differences: a standard deviation of one point. None seen does not mean that there is none."""
MOST_ITEMS = 10_000_000


@dataclass(frozen=True)
class GradedPairs:
    """The grades of one slice, item by item."""

    slice: str
    candidate: tuple[float, ...]
    other: tuple[float, ...]

    @property
    def items(self) -> int:
        return len(self.candidate)

    @cached_property
    def differences(self) -> Any:
        """Candidate minus the other version, one for each item."""
        return np.asarray(self.candidate) - np.asarray(self.other)

    @property
    def difference(self) -> float:
        return float(self.differences.mean())

    @property
    def candidate_mean(self) -> float:
        return fmean(self.candidate)

    @property
    def other_mean(self) -> float:
        return fmean(self.other)

    @property
    def gained(self) -> int:
        """Items with a better grade, by half a step of the permutation test or more."""
        return int((_steps(self.differences) > 0).sum())

    @property
    def lost(self) -> int:
        return int((_steps(self.differences) < 0).sum())

    @property
    def noise(self) -> float:
        """Variance of the differences, which no effect swells that all items share."""
        return max(float(self.differences.var()), LEAST_VARIANCE)

    def interval(self, confidence: float) -> tuple[float, float]:
        return mean_interval(self.differences, low=-1.0, high=1.0, confidence=confidence)

    def gain_p(self, margin: float, level: float) -> float:
        """Return a p-value for a mean difference of at most `margin`, whatever the distribution and the level."""
        return mean_p(self.differences, margin, low=-1.0)

    def won_p(self) -> float:
        """Return the p-value that equal models differ so in the candidate's favour."""
        return sign_flip_p(self.differences)

    def lost_p(self) -> float:
        return sign_flip_p(-self.differences)

    def detectable_gain(self, level: float) -> float | None:
        """Return the smallest true gain that so many items show at a level with a chance of 80 %; None if none."""
        low, high = 0.0, 1.0
        if betting_power(high, self.noise, self.items, level) < POWER:
            return None
        for _ in range(16):
            middle = (low + high) / 2
            seen = betting_power(middle, self.noise, self.items, level) >= POWER
            low, high = (low, middle) if seen else (middle, high)
        return high

    def needed(self, margin: float, level: float) -> int | None:
        """Return how many more items would show a difference above `margin`; None if more of the same would not."""
        distance = self.difference - margin
        if distance <= 0:
            return None
        low, high = 0, max(16, self.items)
        while betting_power(distance, self.noise, high, level, margin) < POWER:
            low, high = high, 2 * high
            if high > MOST_ITEMS:
                return None
        while high - low > max(1, high // 500):
            middle = (low + high) // 2
            seen = betting_power(distance, self.noise, middle, level, margin) >= POWER
            low, high = (low, middle) if seen else (middle, high)
        return max(1, high - self.items)

    def passing_chance(self, noise: float, margin: float, level: float) -> float:
        """Return the chance that an equal candidate is shown at a level to lose less than a margin."""
        return betting_power(margin, max(noise, LEAST_VARIANCE), self.items, level, -margin)


def betting_power(distance: float, variance: float, items: int, level: float, margin: float = 0.0) -> float:
    """Return about the chance that the bet at a level sees a mean that lies a distance above the margin.

    The logarithm of the wealth is taken for normal, with its mean and variance to the second order in the bet.
    """
    bets = SIZES / (1 + margin)
    growth = bets * distance - bets**2 * (variance + distance**2) / 2
    spread = bets * math.sqrt(variance * items)
    # Of bets spread evenly a share of sqrt(2 * pi / (items * variance)) is about the best one, as in Laplace's method.
    mixing = max(MIXING, math.log(items * variance / (2 * math.pi)) / 2)
    best = float(((items * growth + math.log(level) - mixing) / spread).max())
    return NormalDist().cdf(best)


def sign_flip_p(differences: Sequence[float] | Any) -> float:
    """Return the chance of so large a sum where each difference had either sign, exact for those in whole steps."""
    steps = _steps(np.asarray(differences, dtype=float))
    sizes = np.abs(steps[steps != 0])
    reach = int(sizes.sum())
    if not reach:
        return 1.0
    # chances[k] is the chance of the sum k - reach; the sums grow item by item, the largest last.
    chances = np.zeros(2 * reach + 1)
    chances[reach], known = 1.0, 0
    for size in np.sort(sizes):
        low, high = reach - known, reach + known + 1
        before = chances[low:high].copy() / 2
        chances[low:high] = 0.0
        chances[low - size : high - size] += before
        chances[low + size : high + size] += before
        known += int(size)
    return min(1.0, float(chances[reach + int(steps.sum()) :].sum()))


def _steps(differences: Any) -> Any:
    return np.rint(differences * STEPS).astype(int)
