"""Proves by betting that the mean of what lies in [0, 1] has fallen, at whatever moment one looks; pure.

A gambler stakes a share of the capital on each observation being below the null's mean. Under the null the capital
is a nonnegative supermartingale, so it exceeds 1/level at any time with probability at most `level` (Ville 1939;
Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting, JRSS-B 86, 2024).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta

from monitor.calibration import Array

FALLS = np.array([0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9])
"""Falls of the mean, as shares of it, that are bet on with equal stakes: that costs a factor of 7 against the best."""
CONFIDENCE = 0.99
"""Of the baseline's lower bound: what is measured on some hundred items is not known better."""
LARGEST_LOG = 700.0  # of a float


@dataclass(frozen=True)
class Outcomes:
    """What became of some items that count the same: how many were right, and how many there were."""

    right: float
    items: float
    grades: tuple[float, ...] | None = None
    """Where answers are good by degrees and each counts alone; `right` is their sum."""

    @classmethod
    def of(cls, grades: Sequence[float]) -> "Outcomes":
        """Return the outcomes of answers that are good by degrees."""
        return cls(sum(grades), len(grades), tuple(grades))


def lower_bound(right: float, items: float, confidence: float = CONFIDENCE) -> float:
    """Return the exact one-sided lower bound of a share (Clopper and Pearson, Biometrika 26, 1934); 0 without any."""
    return float(beta.ppf(1 - confidence, right, items - right + 1)) if right > 0 else 0.0


def log_capital(outcomes: Outcomes, mean: float, design_effect: float = 1.0) -> Array:
    """Return the log of each gambler's capital after bets against "the mean is at least `mean`".

    An item x multiplies it by 1 + c (m - x) / (1 - m), for a bet on a fall by the share c: a right one by 1 - c and a
    wrong one by 1 + c m / (1 - m). Of what lies between and is known as a sum only, the log is at least the sum's share
    of these two, because it is concave. Where
    items come in bursts the log is divided by the design effect B: by Jensen's inequality that is at most the log of
    the capital after bets on the means of blocks of B items, which are taken as independent.
    """
    mean = min(max(mean, 1e-9), 1 - 1e-9)
    if outcomes.grades is not None:
        stakes = np.outer(FALLS / (1 - mean), mean - np.asarray(outcomes.grades))
        return np.asarray(np.log1p(stakes).sum(axis=1) / design_effect)
    gain, loss = np.log1p(FALLS * mean / (1 - mean)), np.log1p(-FALLS)
    return np.asarray((gain * (outcomes.items - outcomes.right) + loss * outcomes.right) / design_effect)


def restarted_capital(windows: Sequence[Outcomes], mean: float, design_effect: float = 1.0) -> Array:
    """Return after each window the sum of the capitals of gamblers of whom one starts at each, as an e-detector.

    Its mean run length until it exceeds c is at least c windows, if the mean never fell (Shin, Ramdas and Rinaldo,
    E-detectors, 2024, theorem 2.4; Shiryaev and Roberts' recursion M <- (M + 1) e).
    """
    total, found = np.full(len(FALLS), -math.inf), []
    for outcomes in windows:
        total = np.logaddexp(total, 0.0) + log_capital(outcomes, mean, design_effect)
        found.append(float(np.mean(np.exp(np.minimum(total, LARGEST_LOG)))))
    return np.array(found)


def design_effect(values: Array, block: int = 10) -> float:
    """Return by how much the mean of consecutive values varies more than if they were independent; 1 at least.

    The variance of batch means over that of independent values (Kish, Survey Sampling, 1965, section 5.4; Glynn and
    Whitt 1991); values come in blocks of the same window, and what is left over is left out.
    """
    blocks = len(values) // block
    if blocks < 4 or (variance := float(values.var())) < 1e-12:
        return 1.0
    means = values[: blocks * block].reshape(blocks, block).mean(axis=1)
    return float(min(block, max(1.0, block * means.var(ddof=1) / variance)))
