"""Statistics of grades: against exact tests of labels, and by draws whose truth is known."""

import numpy as np
import pytest

from driftwheel.evidence.bounded_means import mean_interval, mean_p
from train.verdict.graded import GradedPairs, betting_power, sign_flip_p
from train.verdict.paired import mcnemar_p

LEVEL = 1e-4


@pytest.mark.parametrize(("gained", "lost"), [(10, 3), (5, 5), (0, 4), (30, 7)])
def test_of_labels_the_permutation_test_is_mcnemars(gained: int, lost: int) -> None:
    differences = [1.0] * gained + [-1.0] * lost + [0.0] * 50
    assert sign_flip_p(differences) == pytest.approx(mcnemar_p(gained, lost))


def test_the_permutation_test_is_that_over_all_signs() -> None:
    differences = np.array([0.05, 0.2, -0.1, 0.3, 0.015])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 5)).reshape(5, -1).T
    sums = signs @ np.abs(differences)
    assert sign_flip_p(differences) == pytest.approx(float((sums >= differences.sum() - 1e-9).mean()))


def test_equal_numbers_in_any_order_give_the_same_p_value() -> None:
    differences = np.random.default_rng(0).normal(0.02, 0.2, 200).clip(-1, 1)
    assert mean_p(differences, 0.0, low=-1.0) == pytest.approx(mean_p(differences[::-1], 0.0, low=-1.0))


def test_an_interval_holds_the_mean_of_skewed_numbers_where_a_normal_one_does_not() -> None:
    """One answer in fifty is worth nothing: with sixty items a normal interval often has no width at all."""
    chance, truth = np.random.default_rng(0), 0.98
    drawn = (chance.random((400, 60)) < truth).astype(float)
    held = sum(low <= truth <= high for low, high in (mean_interval(row) for row in drawn))
    assert held >= 380
    reach = 1.96 * drawn.std(axis=1) / 60**0.5
    assert (abs(drawn.mean(axis=1) - truth) <= reach).mean() < 0.8
    assert mean_interval([]) == (0.0, 1.0)


def test_the_stated_power_is_the_measured_one() -> None:
    chance, items = np.random.default_rng(1), 830
    draws = chance.normal(0.03, 0.15, (200, items)).clip(-1, 1)
    seen = np.mean([mean_p(row, 0.0, low=-1.0) <= LEVEL for row in draws])
    assert seen == pytest.approx(betting_power(0.03, 0.15**2, items, LEVEL), abs=0.12)
    assert seen >= 0.75


def test_counts_and_means_are_those_of_the_grades() -> None:
    pairs = GradedPairs("all", (0.5, 0.7, 0.2, 1.0), (0.5, 0.6, 0.4, 1.0))
    assert (pairs.items, pairs.gained, pairs.lost) == (4, 1, 1)
    assert pairs.difference == pytest.approx(-0.025)
    assert pairs.candidate_mean == pytest.approx(0.6)
    assert pairs.other_mean == pytest.approx(0.625)
    assert pairs.needed(0.0, LEVEL) is None, "more of a loss shows no gain"
