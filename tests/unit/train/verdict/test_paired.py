"""Intervals and tests of paired answers against other calculations: enumeration, scipy, statsmodels."""

import math
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binom, binomtest, multinomial, norm
from statsmodels.stats.contingency_tables import mcnemar

from driftwheel.evidence.intervals import paired_interval
from train.verdict.paired import (
    Pairs,
    detectable_gain,
    items_for_gain,
    items_needed,
    margin_p,
    mcnemar_p,
    most_losses,
    passing_chance,
    power,
    shared_chance,
    shared_level,
)

LEVEL = 1e-4


def score_statistic(gained: int, lost: int, items: int, difference: float) -> float:
    """The same statistic with its nuisance share found by maximizing the likelihood numerically."""

    def negative_loglikelihood(lost_share: float) -> float:
        shares = (lost_share + difference, lost_share, 1 - 2 * lost_share - difference)
        counts = (gained, lost, items - gained - lost)
        return -sum(count * math.log(max(share, 1e-300)) for count, share in zip(counts, shares, strict=True) if count)

    low, high = max(0.0, -difference), (1 - difference) / 2
    best = minimize_scalar(negative_loglikelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
    return (gained - lost - items * difference) / math.sqrt(items * (2 * best + difference - difference**2))


@pytest.mark.parametrize(("gained", "lost", "items"), [(9, 2, 44), (60, 10, 300), (1, 5, 120), (20, 20, 200)])
def test_the_interval_ends_where_the_score_test_would_just_reject(gained: int, lost: int, items: int) -> None:
    low, high = paired_interval(gained, lost, items, 0.95)
    z = norm.ppf(0.975)
    assert score_statistic(gained, lost, items, low) == pytest.approx(z, abs=1e-3)
    assert score_statistic(gained, lost, items, high) == pytest.approx(-z, abs=1e-3)


def test_the_interval_without_discordant_pairs_is_known_in_closed_form() -> None:
    z2 = norm.ppf(0.975) ** 2
    low, high = paired_interval(0, 0, 300, 0.95)
    assert high == pytest.approx(z2 / (300 + z2), abs=1e-6)
    assert low == pytest.approx(-high, abs=1e-9)


def test_the_interval_holds_its_level_over_every_possible_table() -> None:
    items, gained_share, lost_share = 40, 0.15, 0.10
    covered = total = 0.0
    for gained in range(items + 1):
        for lost in range(items + 1 - gained):
            weight = multinomial.pmf(
                [gained, lost, items - gained - lost], items, [gained_share, lost_share, 1 - gained_share - lost_share]
            )
            total += weight
            if weight > 1e-9:
                low, high = paired_interval(gained, lost, items, 0.95)
                covered += weight * (low <= gained_share - lost_share <= high)
    assert total == pytest.approx(1)
    assert 0.94 <= covered <= 0.975


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (10, 2), (3, 17), (50, 50), (400, 320)])
def test_mcnemar_is_the_exact_binomial_test(gained: int, lost: int) -> None:
    expected = binomtest(gained, gained + lost, alternative="greater").pvalue if gained + lost else 1.0
    assert mcnemar_p(gained, lost) == pytest.approx(expected)
    if gained > lost:
        two_sided = mcnemar([[9, gained], [lost, 9]], exact=True).pvalue
        assert 2 * mcnemar_p(gained, lost) == pytest.approx(two_sided)


def tables(items: int) -> Any:
    """Every (gained, lost) of so many items."""
    return np.array([(g, b) for g in range(items + 1) for b in range(items + 1 - g)])


def chances(items: int, discordance: float, difference: float) -> Any:
    """The chance of each of those tables."""
    gained, lost = (discordance + difference) / 2, (discordance - difference) / 2
    counts = np.column_stack([tables(items), items - tables(items).sum(axis=1)])
    return multinomial.pmf(counts, items, [gained, lost, 1 - gained - lost])


@pytest.mark.parametrize("margin", [0.0, 0.05, -0.05])
@pytest.mark.parametrize("level", [LEVEL, 0.05])
def test_the_test_against_a_margin_keeps_its_level_over_every_possible_table(margin: float, level: float) -> None:
    items = 36
    is_far = tables(items)[:, 0] - tables(items)[:, 1] > items * margin
    is_rejected = np.array(
        [
            far and margin_p(int(g), int(b), items, margin, level) <= level
            for far, (g, b) in zip(is_far, tables(items), strict=True)
        ]
    )
    sizes = [chances(items, d, margin)[is_rejected].sum() for d in (0.06, 0.1, 0.2, 0.35, 0.5, 0.7)]
    assert max(sizes) <= level
    assert max(sizes) >= 0.2 * level, "a test that never rejects would keep it too"


def test_a_score_interval_would_not_keep_so_small_a_level_against_a_margin() -> None:
    gained, lost = tables(300).T
    is_lucky = (gained <= 40) & (lost <= 6)
    weights = chances(300, 0.06, 0.05)
    low = [
        paired_interval(int(g), int(b), 300, 1 - 2 * LEVEL)[0] if w > 1e-9 else -1.0
        for g, b, w in zip(gained[is_lucky], lost[is_lucky], weights[is_lucky], strict=True)
    ]
    assert weights[is_lucky][np.array(low) > 0.05].sum() > 2 * LEVEL


@pytest.mark.parametrize("level", [LEVEL, 0.05, 0.3])
def test_the_most_losses_are_where_the_binomial_tail_crosses_the_level(level: float) -> None:
    differing = np.array([0, 1, 3, 13, 14, 15, 50, 200, 1001])
    for count, most in zip(differing, most_losses(differing, level), strict=True):
        assert most == -1 or binom.cdf(most, count, 0.5) <= level
        assert count == 0 or binom.cdf(most + 1, count, 0.5) > level


def test_power_is_the_chance_of_a_significant_table() -> None:
    items, gain, discordance = 60, 0.3, 0.4
    is_seen = np.array([binom.cdf(b, g + b, 0.5) <= 0.01 and g + b > 0 for g, b in tables(items)])
    assert power(gain, discordance, items, 0.01) == pytest.approx(chances(items, discordance, gain)[is_seen].sum())


def test_the_stated_items_and_gains_have_the_power_that_they_claim() -> None:
    items = items_for_gain(0.03, 0.10, LEVEL)
    chance = np.random.default_rng(0)
    gained, lost, _ = chance.multinomial(items, [0.065, 0.035, 0.9], size=20_000).T
    assert (binom.cdf(lost, gained + lost, 0.5) <= LEVEL).mean() == pytest.approx(0.8, abs=0.012)
    gain = detectable_gain(0.07, items, LEVEL)
    assert gain == pytest.approx(0.03, abs=0.001)
    assert detectable_gain(0.1, 10, LEVEL) is None, "ten items all gained have a p-value of 0.001"


def test_an_equal_candidate_passes_with_the_stated_chance() -> None:
    items, noise = 800, 0.06
    margin = 0.0215
    assert passing_chance(noise, items, margin, 0.05) == pytest.approx(0.8, abs=0.01)
    chance = np.random.default_rng(0)
    drawn = chance.multinomial(items, [noise / 2, noise / 2, 1 - noise], size=2000)
    lows = [paired_interval(int(g), int(b), items, 0.90)[0] for g, b, _ in drawn]
    assert np.mean(np.array(lows) > -margin) == pytest.approx(0.8, abs=0.04)


def test_more_items_are_needed_only_where_they_would_help() -> None:
    assert items_needed(Pairs("new", 200, 10, 10, 80), 0.0, LEVEL) is None, "no difference to be shown"
    assert items_needed(Pairs("new", 200, 20, 15, 65), 0.0, LEVEL) == pytest.approx(8415, rel=0.02)
    assert items_needed(Pairs("old", 280, 5, 6, 9), -0.02, 0.05) == pytest.approx(516, abs=1)


def test_noise_is_not_swelled_by_an_effect() -> None:
    assert Pairs("old", 90, 5, 5, 0).noise == Pairs("old", 60, 5, 35, 0).noise == 0.1
    assert Pairs("old", 100, 0, 0, 0).noise == Pairs("old", 95, 0, 5, 0).noise == 0.01


def test_slices_that_could_never_be_significant_share_no_level() -> None:
    assert shared_level([20, 20, 1, 0, 2, 3], 0.05) == pytest.approx(0.025)
    assert shared_level([20] * 10, 0.05) == pytest.approx(0.005)
    assert shared_level([], 0.05) == 0.05


def test_watching_many_slices_rejects_a_harmless_candidate_as_rarely_as_declared() -> None:
    chance, rejected = np.random.default_rng(0), 0
    for _ in range(2000):
        differing = chance.integers(0, 12, size=30)
        lost = chance.binomial(differing, 0.5)
        level = shared_level(differing.tolist(), 0.05)
        rejected += any(mcnemar_p(int(b), int(d - b)) <= level for d, b in zip(differing, lost, strict=True))
    assert 0 < rejected / 2000 <= 0.05


def test_as_many_slices_are_held_as_an_equal_candidate_passes_together() -> None:
    assert shared_chance([0.85]) == 0.85
    assert shared_chance([0.85, 0.85, 0.85]) == 1.0, "one alone could be held, but which?"
    assert shared_chance([0.99, 0.95, 0.92, 0.5]) == 0.95, "0.92 is too little for the third"
    assert shared_chance([0.7, 0.1]) == 1.0
