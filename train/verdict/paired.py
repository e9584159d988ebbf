"""Statistics of paired answers: intervals, exact p-values, and the items needed to show a difference.

Two models answered the same items; only the items on which they differ say which is better. Intervals are Tango's
score intervals (T. Tango, Statistics in Medicine 17, 1998, 891-908). Tests are exact: McNemar's conditional test for
"no better", Berger and Boos' unconditional one (JASA 89, 1994, 1012-1016) for "better by less than a margin". Score
intervals and normal approximations are too bold far out in the tail, where a gate with an error budget works.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
from scipy.special import bdtr, bdtrc, betaincinv, gammaln, xlog1py, xlogy

from driftwheel.evidence.intervals import paired_interval, tango_statistic

POWER = 0.8
"""Chance with which a stated number of items would settle it, and with which a stated gain would have been seen."""
DISCORDANCES = 41
MANY_ITEMS = 50_000


@dataclass(frozen=True)
class Pairs:
    """The four-fold table of one slice."""

    slice: str
    both: int
    gained: int
    """Right by the candidate, wrong by the other version."""
    lost: int
    """The reverse."""
    neither: int

    @property
    def items(self) -> int:
        return self.both + self.gained + self.lost + self.neither

    @property
    def difference(self) -> float:
        return (self.gained - self.lost) / self.items

    @property
    def discordance(self) -> float:
        """Share of items on which they differ; never 0, for none seen does not mean that there are none."""
        return max(self.gained + self.lost, 1) / self.items

    @property
    def noise(self) -> float:
        """Share of items on which an equal candidate would differ: twice the smaller side, which no effect swells."""
        return max(2 * min(self.gained, self.lost), 1) / self.items

    @property
    def candidate_mean(self) -> float:
        return (self.both + self.gained) / self.items

    @property
    def other_mean(self) -> float:
        return (self.both + self.lost) / self.items

    def interval(self, confidence: float) -> tuple[float, float]:
        return paired_interval(self.gained, self.lost, self.items, confidence)

    def gain_p(self, margin: float, level: float) -> float:
        """Return a p-value for a difference of at most `margin`, good for tests at `level`."""
        return margin_p(self.gained, self.lost, self.items, margin, level)

    def won_p(self) -> float:
        """Return the p-value that equal models differ so in the candidate's favour."""
        return mcnemar_p(self.gained, self.lost)

    def lost_p(self) -> float:
        return mcnemar_p(self.lost, self.gained)

    def detectable_gain(self, level: float) -> float | None:
        return detectable_gain(self.noise, self.items, level)

    def needed(self, margin: float, level: float) -> int | None:
        return items_needed(self, margin, level)

    def passing_chance(self, noise: float, margin: float, level: float) -> float:
        return passing_chance(noise, self.items, margin, level)


def mcnemar_p(gained: int, lost: int, odds: float = 1.0) -> float:
    """Return the one-sided p-value of McNemar's exact test that nothing was gained: coin tosses, few of them lost.

    `odds` says how many times as likely an item is here where the other version is wrong: a coin that favours gains.
    """
    return float(bdtr(lost, gained + lost, 1 / (1 + odds))) if gained + lost else 1.0


def margin_p(gained: int, lost: int, items: int, margin: float, level: float) -> float:
    """Return an exact one-sided p-value for a difference of at most `margin`, good for tests at `level`.

    Tables are ordered by Tango's statistic. The tail is maximized over every discordance that the data leave open at
    a hundredth of the level, which is added (Berger and Boos 1994). A margin of zero needs no such search.
    """
    if margin == 0:
        return mcnemar_p(gained, lost)
    spent, differing = level / 100, gained + lost
    low = float(betaincinv(differing, items - differing + 1, spent / 2)) if differing else 0.0
    high = float(betaincinv(differing + 1, items - differing, 1 - spent / 2)) if differing < items else 1.0
    open_to = np.linspace(max(low, abs(margin)), max(high, abs(margin)), DISCORDANCES)
    enough = _least_gains(gained, lost, items, margin)
    return min(1.0, max(_tail(enough, items, discordance, margin) for discordance in open_to) + spent)


def most_losses(differing: Any, level: float) -> Any:
    """Return how many of so many differing items may be lost at most for a gain to be significant; -1 for none."""
    tosses = np.asarray(differing, dtype=int)
    guess = np.floor((tosses - NormalDist().inv_cdf(1 - level) * np.sqrt(tosses)) / 2)
    found, last = np.clip(guess, -1, tosses), None
    while last is None or (found != last).any():
        last = found
        is_too_many = (found >= 0) & (bdtr(np.maximum(found, 0), tosses, 0.5) > level)
        is_more_allowed = (found < tosses) & (bdtr(np.minimum(found + 1, tosses), tosses, 0.5) <= level)
        found = found - is_too_many + is_more_allowed
    return found.astype(int)


def power(gain: float, discordance: float, items: int, level: float) -> float:
    """Return the exact chance that McNemar's test at `level` sees a true gain."""
    discordance = min(max(discordance, gain), 1.0)
    spread = 7 * math.sqrt(items * discordance * (1 - discordance)) + 12
    low, high = max(0, int(items * discordance - spread)), min(items, int(items * discordance + spread))
    differing = np.arange(low, high + 1)
    allowed = most_losses(differing, level)
    lost_share = (1 - gain / discordance) / 2
    seen = np.where(allowed >= 0, bdtr(np.maximum(allowed, 0.0), differing, lost_share), 0.0)
    return float((_mass(differing, items, discordance) * seen).sum())


@lru_cache(maxsize=4096)
def items_for_gain(gain: float, discordance: float, level: float) -> int:
    """Return how many items McNemar's test at `level` needs to see a true gain with a chance of `POWER`."""
    low, high = 0, max(16, math.ceil(_deviations(level) ** 2 * max(discordance, gain) / gain**2))
    if high > MANY_ITEMS:
        return high  # so many that the normal approximation is exact enough
    while power(gain, discordance, high, level) < POWER:
        low, high = high, high + high // 4
    while high - low > max(1, high // 500):
        middle = (low + high) // 2
        low, high = (low, middle) if power(gain, discordance, middle, level) >= POWER else (middle, high)
    return high


@lru_cache(maxsize=4096)
def detectable_gain(noise: float, items: int, level: float) -> float | None:
    """Return the smallest true gain that McNemar's test at `level` sees with a chance of `POWER`; None if none.

    `noise` is the share of items on which the two would differ without any gain.
    """
    low, high = 0.0, 1.0 - noise
    if power(high, noise + high, items, level) < POWER:
        return None
    for _ in range(16):
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle, noise + middle, items, level) >= POWER else (middle, high)
    return high


def items_needed(pairs: Pairs, margin: float, level: float) -> int | None:
    """Return how many more items would show a difference above `margin` at a one-sided level; None if none would.

    The measured difference and discordance are taken as true. A margin of zero is counted exactly, another one by
    the normal approximation (Connor 1987, Biometrics 43, 207).
    """
    distance = pairs.difference - margin
    if distance <= 0:
        return None
    if margin == 0:
        return max(1, items_for_gain(pairs.difference, pairs.discordance, level) - pairs.items)
    variance = max(pairs.discordance - pairs.difference**2, 0.0)
    return max(1, math.ceil(_deviations(level) ** 2 * variance / distance**2) - pairs.items)


def passing_chance(noise: float, items: int, margin: float, level: float) -> float:
    """Return the chance that an equal candidate is shown at a level to lose less than a margin on so many items."""
    normal = NormalDist()
    return normal.cdf(margin / math.sqrt(noise / items) - normal.inv_cdf(1 - level))


def shared_chance(chances: Sequence[float]) -> float:
    """Return the least chance of passing one of several tests so that all are passed together with POWER.

    As many tests as can be afforded are meant, the surest first; 1 if none can.
    """
    affordable = [one for one in set(chances) if one >= 1 - (1 - POWER) / sum(other >= one for other in chances)]
    return min(affordable, default=1.0)


def shared_level(differing: Sequence[int], level: float) -> float:
    """Return the level of each of several exact sign tests so that all of them together keep `level`.

    Slices with so few differing items that no outcome could be significant cost nothing (Tarone 1990, Biometrics
    46, 515-522).
    """
    divisor = 1
    while sum(0.5**count <= level / divisor for count in differing) > divisor:
        divisor += 1
    return level / divisor


def _deviations(level: float) -> float:
    """Return how many standard errors a test at a level needs to succeed with POWER."""
    return NormalDist().inv_cdf(1 - level) + NormalDist().inv_cdf(POWER)


def _mass(counts: Any, trials: int, share: float) -> Any:
    """Return the binomial probabilities of the counts."""
    ways = gammaln(trials + 1) - gammaln(counts + 1) - gammaln(trials - counts + 1)
    return np.exp(ways + xlogy(counts, share) + xlog1py(trials - counts, -share))


def _least_gains(gained: int, lost: int, items: int, margin: float) -> Any:
    """Return for each number of lost items how many gained ones speak as strongly for a difference above `margin`."""
    seen = tango_statistic(gained, lost, items, margin) - 1e-9
    all_lost = np.arange(items + 1)
    low, high = np.full(items + 1, -1), items + 1 - all_lost
    for _ in range(items.bit_length() + 1):
        middle = (low + high) // 2
        is_enough = tango_statistic(middle, all_lost, items, margin) >= seen
        low, high = np.where(is_enough | (high - low <= 1), low, middle), np.where(is_enough, middle, high)
    return high


def _tail(least_gains: Any, items: int, discordance: float, difference: float) -> float:
    """Return the chance of as many gained items as stand beside each number of lost ones."""
    gained_share, lost_share = (discordance + difference) / 2, (discordance - difference) / 2
    lost = np.arange(items + 1)
    share = min(gained_share / max(1 - lost_share, 1e-300), 1.0)
    reached = bdtrc(np.clip(least_gains - 1, 0, items - lost).astype(float), items - lost, share)
    reached = np.where(least_gains <= 0, 1.0, np.where(least_gains > items - lost, 0.0, reached))
    return float((_mass(lost, items, lost_share) * reached).sum())
