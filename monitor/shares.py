"""Compares shares of two samples by Fisher's exact test, or by Chernoff's bound where that cannot matter; pure."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from scipy.stats import hypergeom, mannwhitneyu, norm

from monitor.calibration import Array

CONSISTENT = 6.0
"""Log likelihood ratio beyond which a word's shares in training texts and reference are two different things."""
FACTOR = 2.0
"""By which the bound is multiplied, as the conditional distribution may exceed exp(-LLR) a little."""
CERTAIN = 1e-12
"""Below it nobody asks how far; above it the exact distribution replaces the bound, which is some ten times larger."""


def log_ratio(now: Array, rows: Array | float, before: Array, rows_before: Array | float) -> Array:
    """Return the log likelihood ratio of two shares being different against being the same; both in counts."""
    both = (now + before) / (rows + rows_before)

    def term(part: Array, of: Array | float) -> Array:
        share = part / of
        hits = np.where(part > 0, part * np.log(share / both), 0.0)
        return np.asarray(hits + np.where(part < of, (of - part) * np.log((1 - share) / (1 - both)), 0.0))

    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.maximum(0.0, term(now, rows) + term(before, rows_before)))


def p_values_of(
    now: Array,
    rows: Array | float,
    before: Array,
    rows_before: Array,
    *,
    effect: Array | float,
    tests: Array | float,
    way: int = 1,
) -> Array:
    """Return the p-values, times the number of tests, of shares having risen, or with -1 fallen; 1 at most.

    Fisher's exact test, on counts divided by the design effect; where it cannot matter, Chernoff's bound on it. All
    have the shape of `now`, or can be brought to it.
    """
    found = np.ones(now.shape)
    # Most shares went the other way, and of them nothing is asked.
    places = np.nonzero(way * now / rows > way * before / rows_before)
    parts = (now, rows, before, rows_before, effect, tests)
    now, of_now, before, of_before, effects, all_tests = (np.broadcast_to(part, now.shape)[places] for part in parts)
    bound = FACTOR * np.exp(-log_ratio(now / effects, of_now / effects, before, of_before)) * all_tests
    p_values = np.minimum(1.0, bound)
    asked = np.flatnonzero((p_values < 1.0) & (p_values > CERTAIN))
    if len(asked):
        # Rounded towards nothing having happened.
        hits = now[asked] / effects[asked]
        hits = np.floor(hits) if way > 0 else np.ceil(hits)
        of = np.maximum(np.round(of_now[asked] / effects[asked]), hits)
        table = (np.round(of_before[asked]) + of, np.round(before[asked]) + hits, of)
        exact = hypergeom.sf(hits - 1, *table) if way > 0 else hypergeom.cdf(hits, *table)
        p_values[asked] = np.minimum(p_values[asked], exact * all_tests[asked])
    found[places] = p_values
    return found


def growth_p_value(now: Sequence[float], before: Sequence[float], design_effect: float = 1.0) -> float:
    """Return the p-value of the rank test of Mann and Whitney (1947) that numbers have grown; 1 where a side is empty.

    Sums of them would be compared as if each were 0 or 1, which sees a third less.
    """
    if not now or not before or len({*now, *before}) == 1:
        return 1.0
    p_value = float(mannwhitneyu(now, before, alternative="greater", method="asymptotic").pvalue)
    return float(norm.sf(norm.isf(p_value) / math.sqrt(design_effect)))


@dataclass(frozen=True)
class Before:
    """How often things were there in the training texts and in the reference."""

    learned: Counter[str]
    learned_rows: int
    judged: Counter[str]
    judged_rows: int
    effect: float = 1.0
    """Design effect of the judged rows."""

    @classmethod
    def alone(cls, judged: Counter[str], judged_rows: int, effect: float) -> "Before":
        """Return the reference without training texts."""
        return cls(Counter(), 0, judged, judged_rows, effect)

    def counts(self, names: Sequence[str]) -> tuple[Array, Array]:
        """Return hits and rows of each thing: of both together, or of the reference where the two do not fit."""
        # Most words were never said before, and a counter's own look-up is slow for what it does not have.
        learned, judged = (
            np.fromiter(map(counter.get, names, repeat(0)), np.float64, len(names))
            for counter in (self.learned, self.judged)
        )
        judged /= self.effect
        judged_rows = self.judged_rows / self.effect
        fits = log_ratio(judged, judged_rows, learned, float(max(1, self.learned_rows))) < CONSISTENT
        hits = np.where(fits, learned + judged, judged)
        return hits, np.where(fits, self.learned_rows + judged_rows, judged_rows)
