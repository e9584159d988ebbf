"""Intervals against statsmodels and against a score test whose likelihood is maximized numerically."""

import math

import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import norm
from statsmodels.stats.proportion import proportion_confint

from driftwheel.evidence.intervals import paired_interval, share_interval


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (10, 10), (1, 3), (170, 200), (3, 100_000)], ids=str)
def test_a_share_has_wilsons_interval(successes: int, trials: int) -> None:
    found = share_interval(successes, trials)
    assert found == pytest.approx(proportion_confint(successes, trials, method="wilson"), abs=1e-12)


def test_nothing_was_tried_and_nothing_is_said() -> None:
    assert share_interval(0, 0) is None


def score_statistic(gained: int, lost: int, items: int, difference: float) -> float:
    def negative_loglikelihood(lost_share: float) -> float:
        shares = (lost_share + difference, lost_share, 1 - 2 * lost_share - difference)
        counts = (gained, lost, items - gained - lost)
        return -sum(count * math.log(max(share, 1e-300)) for count, share in zip(counts, shares, strict=True) if count)

    bounds = (max(0.0, -difference), (1 - difference) / 2)
    best = minimize_scalar(negative_loglikelihood, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
    return (gained - lost - items * difference) / math.sqrt(items * (2 * best + difference - difference**2))


@pytest.mark.parametrize(("gained", "lost", "items"), [(12, 2, 50), (60, 10, 300), (1, 5, 120), (20, 20, 200)])
def test_a_paired_interval_ends_where_the_score_test_would_just_reject(gained: int, lost: int, items: int) -> None:
    low, high = paired_interval(gained, lost, items)
    z = norm.ppf(0.975)
    assert score_statistic(gained, lost, items, low) == pytest.approx(z, abs=1e-3)
    assert score_statistic(gained, lost, items, high) == pytest.approx(-z, abs=1e-3)


def test_a_paired_interval_without_differences_is_known_in_closed_form() -> None:
    z2 = norm.ppf(0.975) ** 2
    assert paired_interval(0, 0, 300) == pytest.approx((-z2 / (300 + z2), z2 / (300 + z2)), abs=1e-6)
