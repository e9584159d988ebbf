"""Compares shares of two samples by Fisher's exact test, or by Chernoff's bound where that cannot matter; pure."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import hypergeom

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
        with np.errstate(divide="ignore", invalid="ignore"):
            hits = np.where(part > 0, part * np.log(share / both), 0.0)
            rest = np.where(part < of, (of - part) * np.log((1 - share) / (1 - both)), 0.0)
        return np.asarray(hits + rest)

    return np.asarray(np.maximum(0.0, term(now, rows) + term(before, rows_before)))


def p_values_of(
    now: Array, rows: float, before: Array, rows_before: Array, *, effect: float, tests: float, way: int = 1
) -> Array:
    """Return the p-values, times the number of tests, of shares having risen, or with -1 fallen; 1 at most.

    Fisher's exact test, on counts divided by the design effect; where it cannot matter, Chernoff's bound on it.
    """
    is_so = way * now / rows > way * before / rows_before
    bound = FACTOR * np.exp(-log_ratio(now / effect, rows / effect, before, rows_before)) * tests
    found = np.where(is_so, np.minimum(1.0, bound), 1.0)
    for place in np.flatnonzero((found < 1.0) & (found > CERTAIN)):
        hits, of, hits_before, of_before = now[place] / effect, rows / effect, before[place], rows_before[place]
        # Rounded towards nothing having happened.
        count = math.floor(hits) if way > 0 else math.ceil(hits)
        of = max(round(of), count)
        table = (round(of_before) + of, round(hits_before) + count, of)
        exact = hypergeom.sf(count - 1, *table) if way > 0 else hypergeom.cdf(count, *table)
        found[place] = min(found[place], float(exact) * tests)
    return np.asarray(found)


@dataclass(frozen=True)
class Before:
    """How often things were there in the training texts and in the reference."""

    learned: Counter[str]
    learned_rows: int
    judged: Counter[str]
    judged_rows: int

    @classmethod
    def alone(cls, judged: Counter[str], judged_rows: int) -> "Before":
        """Return the reference without training texts."""
        return cls(Counter(), 0, judged, judged_rows)

    def counts(self, names: Sequence[str]) -> tuple[Array, Array]:
        """Return hits and rows of each thing: of both together, or of the reference where the two do not fit."""
        learned = np.array([self.learned[name] for name in names], dtype=np.float64)
        judged = np.array([self.judged[name] for name in names], dtype=np.float64)
        fits = log_ratio(judged, float(self.judged_rows), learned, float(max(1, self.learned_rows))) < CONSISTENT
        hits = np.where(fits, learned + judged, judged)
        return hits, np.where(fits, float(self.learned_rows + self.judged_rows), float(self.judged_rows))
