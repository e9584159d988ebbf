"""The gate's table of cases, its intervals against an independent calculation, and its error rates."""

import math
import random
from typing import Any

import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, multinomial, norm

from driftwheel.config import GateSettings
from driftwheel.errors import GateError
from train.gate import judge
from train.paired import mcnemar_p, paired_interval
from train.tables import Item

SETTINGS = GateSettings(confidence=0.95, min_gain=0.0, max_regression=0.02, min_items=100)


def pairs(name: str, both: int, gained: int, lost: int, neither: int) -> tuple[list[Item], list[Item]]:
    """Candidate's and live version's items with those counts."""
    outcomes = [(True, True)] * both + [(True, False)] * gained + [(False, True)] * lost + [(False, False)] * neither
    candidate = [Item(f"{name}-{n}", name, mine) for n, (mine, _) in enumerate(outcomes)]
    return candidate, [Item(f"{name}-{n}", name, theirs) for n, (_, theirs) in enumerate(outcomes)]


def judged(*tables: tuple[str, int, int, int, int], settings: GateSettings = SETTINGS, **known: Any) -> dict[str, Any]:
    made = [pairs(*table) for table in tables]
    return judge([i for c, _ in made for i in c], [i for _, live in made for i in live], settings, **known)


@pytest.mark.parametrize(
    ("tables", "verdict", "says"),
    [
        pytest.param([("new", 100, 150, 5, 45)], "PROMOTE", "better than the live version", id="plainly better"),
        pytest.param([("old", 150, 60, 10, 80)], "PROMOTE", "300 all items", id="no new items: all are the target"),
        pytest.param([("new", 100, 5, 150, 45)], "REJECT", "worse than the live version", id="plainly worse"),
        pytest.param([("new", 250, 0, 0, 50)], "INCONCLUSIVE", "does not lie above", id="the same answers"),
        pytest.param([("new", 200, 20, 15, 65)], "INCONCLUSIVE", "more items", id="a little better"),
        pytest.param([("new", 10, 30, 0, 10)], "INCONCLUSIVE", "50 items are too few", id="too few, but better"),
        pytest.param([("new", 10, 0, 30, 10)], "REJECT", "worse", id="too few, but plainly worse"),
        pytest.param(
            [("new", 100, 150, 5, 45), ("old", 980, 5, 5, 10)], "PROMOTE", "better", id="better, old slice kept"
        ),
        pytest.param(
            [("new", 100, 150, 5, 45), ("old", 800, 20, 100, 80)],
            "REJECT",
            "on 1000 old items it loses more",
            id="better, old slice lost",
        ),
        pytest.param(
            [("new", 100, 150, 5, 45), ("old", 270, 8, 17, 5)],
            "REJECT",
            "on 300 old items it loses more",
            id="better, old slice 3 points below by estimate",
        ),
        pytest.param(
            [("new", 100, 150, 5, 45), ("old", 260, 15, 16, 9)],
            "INCONCLUSIVE",
            "on 300 old items the interval reaches below",
            id="better, old slice uncertain",
        ),
        pytest.param(
            [("new", 100, 150, 5, 45), ("old", 28, 0, 1, 1)],
            "INCONCLUSIVE",
            "30 items are too few",
            id="one lost item of a small old slice rejects nothing",
        ),
        pytest.param(
            [("new", 200, 20, 15, 65), ("old", 800, 20, 100, 80)], "REJECT", "old", id="one reject beats an open target"
        ),
    ],
)
def test_the_verdict_and_its_reason(tables: list[tuple[str, int, int, int, int]], verdict: str, says: str) -> None:
    found = judged(*tables)
    assert found["verdict"] == verdict
    assert says in found["reason"]


def test_a_gain_must_exceed_the_required_one() -> None:
    tables = ("new", 100, 60, 10, 130)
    assert judged(tables)["verdict"] == "PROMOTE"
    strict = SETTINGS.model_copy(update={"min_gain": 0.3})
    assert judged(tables, settings=strict)["verdict"] == "REJECT"


def test_the_numbers_of_a_verdict_are_those_of_its_table() -> None:
    found = judged(("new", 100, 60, 10, 130), ("old", 900, 40, 30, 30), live_version_id="version_1")
    assert found["difference"] == pytest.approx(50 / 300)
    assert (found["items"], found["live_version_id"]) == (300, "version_1")
    old = found["slices"][1]
    assert (old["slice"], old["items"], old["verdict"]) == ("old", 1000, "PROMOTE")
    assert (old["candidate_accuracy"], old["live_accuracy"]) == (0.94, 0.93)


def test_the_stated_number_of_items_settles_it() -> None:
    open_case = judged(("new", 200, 20, 12, 68))
    assert open_case["verdict"] == "INCONCLUSIVE"
    scale = (300 + open_case["items_needed"]) / 300
    grown = [round(count * scale) for count in (200, 20, 12, 68)]
    assert judged(("new", grown[0], grown[1], grown[2], grown[3]))["verdict"] == "PROMOTE"


def test_looking_again_at_the_same_items_asks_for_more() -> None:
    table = ("new", 200, 24, 10, 66)
    assert judged(table)["verdict"] == "PROMOTE"
    again = judged(table, earlier_looks=9)
    assert (again["verdict"], again["confidence"]) == ("INCONCLUSIVE", pytest.approx(0.995))


@pytest.mark.parametrize(
    ("right", "baseline", "verdict"),
    [
        pytest.param(80, 0.3, "PROMOTE", id="beats the base model"),
        pytest.param(30, 0.3, "REJECT", id="only equals the base model"),
        pytest.param(10, 0.3, "REJECT", id="worse than the base model"),
        pytest.param(80, None, "PROMOTE", id="no baseline was measured"),
        pytest.param(0, None, "REJECT", id="nothing right"),
    ],
)
def test_the_first_version_must_beat_the_base_model(right: int, baseline: float | None, verdict: str) -> None:
    candidate, _ = pairs("old", right, 0, 0, 100 - right)
    found = judge(candidate, None, SETTINGS, baseline_accuracy=baseline)
    assert (found["verdict"], found["interval"], found["live_version_id"]) == (verdict, None, None)
    assert f"{right / 100:.1%}" in found["reason"]


def test_other_items_than_the_live_versions_are_an_error() -> None:
    candidate, live = pairs("new", 100, 10, 0, 10)
    for wrong in (live[:-1], [*live, Item("more", "new", True)], [*live[:-1], live[0]]):
        with pytest.raises(GateError, match="same items"):
            judge(candidate, wrong, SETTINGS)
    with pytest.raises(GateError, match="no items"):
        judge([], [], SETTINGS)


def test_equal_inputs_in_any_order_give_the_same_verdict() -> None:
    candidate, live = pairs("new", 100, 60, 40, 100)
    first = judge(candidate, live, SETTINGS)
    assert first == judge(candidate, live, SETTINGS) == judge(candidate[::-1], live[::-1], SETTINGS)


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


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (10, 2), (3, 17), (50, 50)])
def test_mcnemar_is_the_exact_binomial_test(gained: int, lost: int) -> None:
    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert mcnemar_p(gained, lost) == pytest.approx(expected)


def simulate(chance: random.Random, items: int, live: float, candidate: float, name: str) -> list[tuple[Item, Item]]:
    return [
        (Item(f"{name}-{n}", name, chance.random() < candidate), Item(f"{name}-{n}", name, chance.random() < live))
        for n in range(items)
    ]


def promoted_share(trials: int, seed: int, *slices: tuple[int, float, float, str]) -> float:
    chance = random.Random(seed)
    promoted = 0
    for _ in range(trials):
        drawn = [pair for one in slices for pair in simulate(chance, *one)]
        promoted += judge([c for c, _ in drawn], [b for _, b in drawn], SETTINGS)["verdict"] == "PROMOTE"
    return promoted / trials


def test_a_candidate_that_is_no_better_is_promoted_as_rarely_as_declared() -> None:
    share = promoted_share(2000, 1, (300, 0.8, 0.8, "new"))
    allowed = 0.025
    assert 0.2 * allowed <= share <= allowed + 3 * math.sqrt(allowed * (1 - allowed) / 2000)


def test_a_plainly_better_candidate_is_promoted() -> None:
    assert promoted_share(200, 2, (300, 0.5, 0.75, "new"), (3000, 0.95, 0.97, "old")) >= 0.95


def test_a_planted_regression_of_an_old_slice_is_promoted_as_rarely_as_declared() -> None:
    assert promoted_share(200, 3, (300, 0.5, 0.9, "new"), (500, 0.9, 0.8, "old")) == 0
    at_the_limit = promoted_share(400, 4, (300, 0.5, 0.9, "new"), (1000, 0.92, 0.90, "old"))
    assert at_the_limit <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)
