"""Traffic that comes in bursts is worth fewer rows, and rings no alarm by itself."""

import numpy as np
import pytest

from driftwheel.identity import utc_now
from driftwheel.records.nouns import DriftKind
from examples.support.world import messages
from monitor.calibration import level_per_decision
from monitor.dependence import INDEPENDENT, DesignEffect, design_effect_of, widened
from monitor.drift import judge_kind
from monitor.observation import Observation, without_repeats

POOL = messages(3000, 11, "steady")
AT = utc_now()


def observe(place: int, author: str = "") -> Observation:
    example = POOL[place]
    return Observation(
        id=str(place), prompt=example.text, answer=example.intent, label=example.intent, author=author, at=AT
    )


def bursts(random: np.random.Generator, count: int, again: float) -> list[Observation]:
    """Return rows of which each has the intent of the one before with this probability."""
    rows: list[Observation] = []
    intent: str | None = None
    while len(rows) < count:
        place = int(random.integers(len(POOL)))
        if intent is None or random.random() >= again:
            intent = POOL[place].intent
        elif POOL[place].intent != intent:
            continue
        rows.append(observe(place))
    return rows


def test_independent_rows_have_no_design_effect_and_bursts_have_that_of_their_length() -> None:
    """With an autocorrelation r the variance of a mean is (1 + r) / (1 - r) times larger: 9 for 0.8."""
    random = np.random.default_rng(0)
    found = []
    for again in (0.0, 0.8):
        sizes = []
        for _ in range(20):
            value, values = 0, []
            for _ in range(200):
                value = value if random.random() < again else int(random.integers(30))
                values.append(value)
            sizes.append(design_effect_of(np.eye(30)[values]).size)
        found.append(float(np.mean(sizes)))
    assert found[0] < 1.15
    assert 5 < found[1] < 10
    assert design_effect_of(np.zeros((0, 0))) == INDEPENDENT


def test_permuted_statistics_keep_their_form_and_grow_with_the_window_share() -> None:
    permuted = np.array([1.0, 2.0, 3.0])
    assert widened(permuted, INDEPENDENT, INDEPENDENT, (200, 600), 1.0) == pytest.approx(permuted)
    wide = widened(permuted, DesignEffect(5.0, 9.0), INDEPENDENT, (200, 600), 1.0)
    assert wide == pytest.approx([8 - 7, 8, 8 + 7])  # a quarter of both factors is the reference's


def test_bursts_are_no_output_drift() -> None:
    """The answers' labels in bursts of rho 0.8 were over the threshold in nearly every window."""
    random, level = np.random.default_rng(1), level_per_decision(1, 24)
    reference = [observe(int(place)) for place in random.choice(len(POOL), 400, replace=False)]
    over = [
        judge_kind(
            DriftKind.OUTPUT, reference, bursts(random, 200, 0.8), level=level, permutations=200, seed=seed
        ).judgment.is_over
        for seed in range(12)
    ]
    assert sum(over) <= 1


def test_a_client_that_resends_a_message_is_one_row() -> None:
    rows = [observe(0, "a"), *[observe(1, "a")] * 5, observe(1, "b"), observe(0, "a")]
    assert [(row.author, row.id) for row in without_repeats(rows)] == [("a", "0"), ("a", "1"), ("b", "1")]
