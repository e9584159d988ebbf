"""Sorts a signal's values once, so that ranks and tails of other rows among them need only be looked up; pure."""

from dataclasses import dataclass

import numpy as np

from monitor.calibration import Array

TAILS, UPPER_TAILS = (0.02, 0.1, 0.9, 0.98), (0.9, 0.97, 0.995)
"""Quantiles beyond which rows are counted: a change of few rows does not move a mean."""
MOST_OF_ONE_VALUE = 0.8
"""Of the values: where more rows have one, ranks are mostly ties, and the tails say it."""
ROUNDING = 1e-12
"""Values that differ by less are the same."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Ranked:
    """The values of a signal in order, with what is asked of them at each check."""

    values: Array
    mean: float
    is_mostly_one: bool
    rank_mean: float
    """Of the values' mid-ranks among themselves."""
    rank_variance: float
    tails: tuple[float, ...]
    """The quantiles at which tails begin."""
    limits: Array
    """The values at these quantiles."""
    hits: Array
    """How many of the values are in each tail."""

    def hits_of(self, others: Array) -> Array:
        """Return how many other values are in each tail."""
        return _hits(others, self.tails, self.limits)


def ranked(values: Array, tails: tuple[float, ...]) -> Ranked:
    """Sort the values of a signal, of which there is at least one."""
    order, ranks = np.sort(values), mid_ranks(values, values)
    limits = np.asarray(np.quantile(values, tails), dtype=np.float64)
    most = int(np.max(np.unique(order, return_counts=True)[1]))
    return Ranked(
        values=order,
        mean=float(values.mean()),
        is_mostly_one=most > MOST_OF_ONE_VALUE * len(values),
        rank_mean=float(ranks.mean()),
        rank_variance=float(ranks.var()),
        tails=tails,
        limits=limits,
        hits=_hits(values, tails, limits),
    )


def mid_ranks(standard: Array, values: Array) -> Array:
    """Return the share of a standard's values that is below each value; equal ones count half."""
    return ranks_in_order(np.sort(standard), values)


def ranks_in_order(order: Array, values: Array) -> Array:
    """Return the mid-ranks of values among others that are sorted."""
    below, up_to = np.searchsorted(order, values, "left"), np.searchsorted(order, values, "right")
    return np.asarray((below + up_to) / 2 / len(order))


def _hits(values: Array, tails: tuple[float, ...], limits: Array) -> Array:
    order = np.sort(values)
    below = np.searchsorted(order, limits - ROUNDING, "left")
    above = len(order) - np.searchsorted(order, limits + ROUNDING, "right")
    return np.where(np.array(tails) < 0.5, below, above).astype(np.float64)
