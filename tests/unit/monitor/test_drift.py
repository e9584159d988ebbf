"""Steady traffic is left alone at the declared rate, and a shift is seen; the oracles are SciPy and plain loops."""

import numpy as np
import pytest
from scipy.stats import binom, ks_2samp

from driftwheel.records.nouns import DriftKind
from examples.support.world import Example, messages
from monitor.calibration import judge, level_per_decision, tail_probability, threshold_at
from monitor.drift import FIRST_DEALINGS, deal_out, judge_kind, ks, squared_mmd, total_variation
from monitor.features import Feature, Measure
from monitor.observation import Observation
from monitor.wording import similarity

STEADY = messages(9000, 11, "steady")
REFERENCE_ROWS, WINDOW_ROWS = 300, 100


def observe(example: Example, number: int = 0) -> Observation:
    return Observation(id=str(number), prompt=example.text, answer=example.intent, label=example.intent)


def test_the_ks_distance_is_scipys_also_with_ties() -> None:
    generator = np.random.default_rng(0)
    values = generator.integers(0, 8, 90).astype(float)
    dealt = deal_out(60, 30, 5, seed=1)
    for is_current, distance in zip(dealt, ks(values.tolist(), 30)(dealt), strict=True):
        expected = ks_2samp(values[is_current == 0], values[is_current == 1]).statistic
        assert distance == pytest.approx(expected)


def test_the_squared_mmd_is_that_of_a_plain_loop() -> None:
    texts = [e.text for e in STEADY[:20]]
    kernel, dealt = similarity(texts), deal_out(12, 8, 2, seed=3)
    for is_current, value in zip(dealt, squared_mmd(texts, 8)(dealt), strict=True):
        a, b = np.flatnonzero(is_current == 1), np.flatnonzero(is_current == 0)
        mean = [np.mean([kernel[i, j] for i in x for j in y]) for x, y in ((a, a), (b, b), (a, b))]
        assert value == pytest.approx(mean[0] + mean[1] - 2 * mean[2])


def test_total_variation_counts_categories() -> None:
    dealt = np.array([[0.0, 0.0, 0.0, 0.0, 1.0, 1.0]])
    assert total_variation(["a", "a", "b", "b", "a", "c"], 2)(dealt)[0] == pytest.approx(0.5)


@pytest.mark.parametrize("kind", [DriftKind.INPUT, DriftKind.OUTPUT])
def test_steady_windows_are_over_the_threshold_at_the_declared_rate(kind: DriftKind) -> None:
    """300 windows against 300 references, all drawn from one pool: the count must fit the declared level."""
    level, windows, over = 0.02, 300, 0
    generator = np.random.default_rng(5)
    for number in range(windows):
        drawn = [observe(STEADY[i], i) for i in generator.choice(len(STEADY), REFERENCE_ROWS + WINDOW_ROWS, False)]
        reference, current = drawn[:REFERENCE_ROWS], drawn[REFERENCE_ROWS:]
        result = judge_kind(kind, reference, current, level=level, permutations=200, seed=number)
        over += result.judgment.is_over
    assert over <= binom.ppf(0.999, windows, level), f"{over} of {windows} steady windows are over the threshold"


def test_a_shift_is_far_over_the_strictest_threshold() -> None:
    reference = [observe(e) for e in STEADY[:400]]
    level = level_per_decision(1.0, 24)
    for seed in range(5):
        shifted = [observe(e) for e in messages(150, 50 + seed, "shifted")]
        for kind in (DriftKind.INPUT, DriftKind.OUTPUT):
            assert judge_kind(kind, reference, shifted, level=level, permutations=400, seed=seed).judgment.is_over


def test_a_shift_of_one_feature_is_attributed_to_it() -> None:
    reference = [observe(e) for e in STEADY[:400]]
    longer = [observe(Example(f"{e.text} {e.text}", e.intent, "low", "steady")) for e in STEADY[400:550]]
    result = judge_kind(DriftKind.INPUT, reference, longer, level=0.001, permutations=300, seed=0)
    assert max(result.features, key=lambda f: f.score).feature in ("prompt_words", "prompt_characters")


def test_judging_more_features_does_not_raise_the_alarm_rate() -> None:
    """Twenty independent columns of noise: without the maximum's correction a third of the checks would alarm."""
    generator, level, over = np.random.default_rng(2), 0.02, 0
    for _ in range(300):
        statistics = generator.normal(size=(401, 20))
        over += judge(statistics[0], statistics[1:], level).is_over
    assert over <= binom.ppf(0.999, 300, level)


def test_the_budget_sets_the_level() -> None:
    assert level_per_decision(1, 24) == pytest.approx(1 / (24 * 30 * 3))
    assert level_per_decision(2, 24) == 2 * level_per_decision(1, 24)


def test_threshold_and_tail_agree_beyond_the_permutations() -> None:
    maxima = np.random.default_rng(0).gumbel(size=400)
    threshold = threshold_at(maxima, 1e-4)
    assert threshold > maxima.max()
    assert tail_probability(maxima, threshold) == pytest.approx(1e-4, rel=0.01)


LEAST_SETTLED = 0.1
"""A smaller p-value is that of all dealings."""
LATENCY = Feature(name="latency", kind=DriftKind.INPUT, measure=Measure.NUMBER, value=lambda row: row.latency_seconds)


def timed(seconds: np.ndarray) -> list[Observation]:
    return [Observation(id=str(n), prompt="", answer="", label=None, latency_seconds=s) for n, s in enumerate(seconds)]


def test_a_window_that_is_settled_early_would_not_be_over_by_all_dealings() -> None:
    """Windows from steady to far off: the verdict is that of all dealings, and so are a striking one's numbers."""
    generator, settled, over = np.random.default_rng(3), 0, 0
    for number in range(60):
        before, now = generator.normal(size=90), generator.normal(number / 50, 1, size=40)
        level = (0.05, 0.001)[number % 2]
        values = [*before, *now]
        table = ks(values, 40)(deal_out(90, 40, 400, number))[:, np.newaxis]
        by_all = judge(table[0], table[1:], level)
        found = judge_kind(
            DriftKind.INPUT,
            timed(before),
            timed(now),
            level=level,
            permutations=400,
            seed=number,
            features=[LATENCY],
        ).judgment
        assert found.is_over == by_all.is_over
        if found.p_value < LEAST_SETTLED:
            assert (found.score, found.threshold, found.p_value) == (by_all.score, by_all.threshold, by_all.p_value)
        settled += found.score != by_all.score
        over += found.is_over
    assert min(settled, over) > 10, "one of both ways was hardly taken"


def test_p_values_are_as_often_below_a_level_as_it_says_also_where_a_window_is_settled_early() -> None:
    """Steady windows, each against a reference of its own: a p-value at most a is met in at most a share a of them."""
    generator, windows = np.random.default_rng(4), 300
    found = []
    for number in range(windows):
        drawn = timed(generator.normal(size=90))
        result = judge_kind(
            DriftKind.INPUT, drawn[:60], drawn[60:], level=0.001, permutations=400, seed=number, features=[LATENCY]
        )
        found.append((result.judgment.p_value, result.features[0].p_value))
    for level in (0.02, 0.05, 0.1, 0.2, 0.5, 0.9):
        for p_values in np.array(found).T:
            count = int(np.sum(p_values <= level))
            assert count <= binom.ppf(0.999, windows, level), f"{count} of {windows} p-values are below {level}"
            if level > 1 / FIRST_DEALINGS:  # and they are not much larger than they have to be: ties are few
                assert count >= binom.ppf(0.0001, windows, level * 0.8), f"{count} of {windows} are below {level}"
