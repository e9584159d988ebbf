"""The gate's table of cases, and its error rates on pairs whose truth is known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from driftwheel.errors import GateError
from driftwheel.records.gate_verdict import GateVerdict
from driftwheel.settings.artifact import GateSettings
from train.gate import decide, decide_counted
from train.verdict.paired import Pairs
from train.verdict.paired_tables import Fixed, Item, Role, Table

SETTINGS = GateSettings(confidence=0.95, min_gain=0.0, max_regression=0.02, min_items=100)


def pairs(name: str, both: int, gained: int, lost: int, neither: int) -> tuple[list[Item], list[Item]]:
    """Candidate's and live version's items with those counts."""
    outcomes = [(True, True)] * both + [(True, False)] * gained + [(False, True)] * lost + [(False, False)] * neither
    candidate = [Item(f"{name}-{n}", name, mine) for n, (mine, _) in enumerate(outcomes)]
    return candidate, [Item(f"{name}-{n}", name, theirs) for n, (_, theirs) in enumerate(outcomes)]


def judged(*tables: tuple[str, int, int, int, int], settings: GateSettings = SETTINGS, **known: Any) -> GateVerdict:
    made = [pairs(*table) for table in tables]
    return decide(settings, [i for c, _ in made for i in c], [i for _, live in made for i in live], **known)


@pytest.mark.parametrize(
    ("tables", "verdict", "says"),
    [
        pytest.param([("new", 100, 150, 5, 45)], "PROMOTE", "better than the live version", id="plainly better"),
        pytest.param([("old", 150, 60, 10, 80)], "PROMOTE", "300 all items", id="no new items: all are the target"),
        pytest.param([("new", 100, 5, 150, 45)], "REJECT", "worse than the live version", id="plainly worse"),
        pytest.param([("new", 250, 0, 0, 50)], "INCONCLUSIVE", "not shown to be better (p = 1,", id="the same answers"),
        pytest.param([("new", 200, 20, 15, 65)], "INCONCLUSIVE", "more items", id="a little better"),
        pytest.param([("new", 200, 24, 7, 69)], "INCONCLUSIVE", "+5.7 points", id="better at 95 %, not in 100 looks"),
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
    assert found.verdict == verdict
    assert says in found.reason


def test_a_gain_must_exceed_the_required_one() -> None:
    tables = ("new", 100, 60, 10, 130)
    assert judged(tables).verdict == "PROMOTE"
    strict = SETTINGS.model_copy(update={"min_gain": 0.3})
    assert judged(tables, settings=strict).verdict == "REJECT"


def test_the_numbers_of_a_verdict_are_those_of_its_table() -> None:
    found = judged(("new", 100, 60, 10, 130), ("old", 900, 40, 30, 30), live_version_id="version_1")
    assert found.difference == pytest.approx(50 / 300)
    assert (found.items, found.live_version_id) == (300, "version_1")
    old = found.slices[1]
    assert (old.slice, old.items, old.verdict) == ("old", 1000, "PROMOTE")
    assert (old.candidate_accuracy, old.live_accuracy) == (0.94, 0.93)


def test_the_stated_number_of_items_settles_it() -> None:
    open_case = judged(("new", 200, 20, 12, 68))
    assert open_case.verdict == "INCONCLUSIVE"
    assert open_case.items_needed is not None
    scale = (300 + open_case.items_needed) / 300
    grown = [round(count * scale) for count in (200, 20, 12, 68)]
    assert judged(("new", grown[0], grown[1], grown[2], grown[3])).verdict == "PROMOTE"


def test_a_spent_test_set_promotes_nobody_and_says_nothing_more() -> None:
    plainly_better = ("new", 100, 150, 5, 45)
    last = judged(plainly_better, earlier_looks=4)
    assert (last.verdict, last.level, last.looks) == ("PROMOTE", judged(plainly_better).level, 5)
    spent = judged(plainly_better, earlier_looks=5, live_version_id="version_1")
    assert (spent.verdict, spent.slices, spent.difference) == ("INCONCLUSIVE", (), None)
    assert "spent: 5 candidates were judged" in spent.reason
    assert "build a new dataset" in spent.reason
    assert spent.live_version_id == "version_1", "a look at a spent set is counted too"


def test_the_level_is_the_budget_shared_by_its_candidates() -> None:
    table = ("new", 200, 30, 7, 63)
    assert judged(table).level == pytest.approx(1e-4)
    assert judged(table).p_value == pytest.approx(9.554e-05, rel=1e-3)
    assert judged(table).verdict == "PROMOTE"
    half = SETTINGS.model_copy(update={"false_promotion": 0.005})
    assert judged(table, settings=half).verdict == "INCONCLUSIVE"


def test_what_could_have_been_seen_and_what_is_missing_stand_in_the_verdict() -> None:
    found = judged(("new", 200, 20, 12, 68))
    assert found.detectable_gain is not None
    assert 0.08 < found.detectable_gain < 0.13
    assert f"the smallest gain that 300 items could show is {100 * found.detectable_gain:.1f} points" in found.reason
    assert f"About {found.items_needed} more items" in found.notes[0]
    assert "look 1 of 5" in found.notes[0]
    assert judged(("new", 5, 1, 0, 4)).detectable_gain is None


def cut(name: str, slice: str, *counts: int) -> tuple[list[Item], list[Item]]:
    """Items of a part that belong to one slice of it."""
    both = pairs(name, *counts)
    mine, theirs = ([replace(i, id=f"{slice}-{i.id}", slices=(slice,)) for i in items] for items in both)
    return mine, theirs


def judged_in(*made: tuple[list[Item], list[Item]], **known: Any) -> GateVerdict:
    settings = known.pop("settings", SETTINGS)
    return decide(settings, [i for c, _ in made for i in c], [i for _, live in made for i in live], **known)


WON = pairs("new", 100, 150, 5, 45)
REST = ("old", "label:card", 960, 20, 10, 10)


@pytest.mark.parametrize(
    ("slice", "verdict", "says"),
    [
        pytest.param((390, 5, 5, 0), "PROMOTE", "of its slices 2 are shown to be kept", id="kept"),
        pytest.param((382, 0, 16, 2), "REJECT", "400 old label:refund items it loses more", id="4 points lost"),
        pytest.param((382, 2, 10, 6), "INCONCLUSIVE", "400 old label:refund items the interval", id="2 points lost"),
        pytest.param((20, 0, 1, 0), "PROMOTE", "1 smaller ones show no sure loss", id="few items, one lost"),
        pytest.param(
            (20, 0, 6, 0), "REJECT", "26 old label:refund items it is surely worse", id="few items, many lost"
        ),
    ],
)
def test_a_slice_is_held_where_its_items_can_show_it_and_watched_elsewhere(
    slice: tuple[int, int, int, int], verdict: str, says: str
) -> None:
    found = judged_in(WON, cut(*REST), cut("old", "label:refund", *slice))
    assert (found.verdict, found.slices[1].verdict) == (verdict, "PROMOTE"), "the old items as a whole are kept"
    assert says in found.reason


def test_a_contract_is_asked_for_however_few_items_it_has() -> None:
    few = cut("old", "label:refund", 20, 0, 0, 0)
    assert judged_in(WON, cut(*REST), few).verdict == "PROMOTE"
    named = SETTINGS.model_copy(update={"contracts": ["label:refund"]})
    found = judged_in(WON, cut(*REST), few, settings=named)
    assert (found.verdict, found.slices[-1].role) == ("INCONCLUSIVE", "contract")
    assert found.items_needed is not None
    assert found.items_needed > 100
    many = cut("old", "label:refund", 900, 2, 2, 0)
    assert judged_in(WON, cut(*REST), many, settings=named).verdict == "PROMOTE"
    missing = judged_in(WON, cut(*REST), settings=named)
    assert "on label:refund the test set has no item of it" in missing.reason


def test_a_contract_holds_over_old_and_new_items() -> None:
    named = SETTINGS.model_copy(update={"contracts": ["label:refund"]})
    new, old = cut("new", "label:refund", 100, 150, 5, 45), cut("old", "label:refund", 700, 0, 0, 0)
    found = judged_in(new, old, cut(*REST), settings=named)
    assert [e.items for e in found.slices if e.role == "contract"] == [1000]


def test_what_a_version_won_is_recorded_and_stays_fixed() -> None:
    first = judged_in(cut("new", "label:hub", 5, 45, 0, 0), cut("new", "label:card", 230, 10, 5, 5), pairs(*KEPT))
    assert first.verdict == "PROMOTE"
    assert [(won.slice, won.items) for won in first.fixed] == [("new", 300), ("new label:hub", 50)]
    assert first.fixed[1].gain == pytest.approx(0.9)
    assert "to stay fixed: new (+16.7 points), new label:hub (+90.0 points)" in first.notes[1]


KEPT = ("old", 980, 5, 5, 10)


@pytest.mark.parametrize(
    ("still_right", "verdict", "says"),
    [
        pytest.param(48, "PROMOTE", "better", id="kept"),
        pytest.param(40, "PROMOTE", "better", id="less, but most of it is kept"),
        pytest.param(
            28, "INCONCLUSIVE", "50 label:hub of v3 items the interval reaches below", id="perhaps less than half"
        ),
        pytest.param(
            15, "REJECT", "50 label:hub of v3 items it loses more than the allowed loss of 45.0", id="given back"
        ),
    ],
)
def test_a_later_candidate_must_keep_what_an_earlier_version_fixed(still_right: int, verdict: str, says: str) -> None:
    hub = [Item(f"hub-{n}", "old", n < still_right) for n in range(50)]
    live = [Item(f"hub-{n}", "old", n < still_right) for n in range(50)]
    fixed = Fixed("label:hub", 3, 0.9, {f"hub-{n}": n < 48 for n in range(50)})
    found = judged_in(WON, pairs(*KEPT), (hub, live), fixed=[fixed])
    assert (found.verdict, found.slices[-1].against) == (verdict, "v3"), "the live one forgot it as well"
    assert says in found.reason


def test_what_cannot_be_measured_any_more_is_said() -> None:
    gone = Fixed("label:hub", 3, 0.9, {"other-1": True})
    found = judged_in(WON, pairs(*KEPT), fixed=[gone])
    assert (found.verdict, found.unmeasured) == ("PROMOTE", ("label:hub of v3",))
    assert "holds none of the items: label:hub of v3" in found.notes[-1]


def test_the_demo_and_banking77_are_still_promoted() -> None:
    demo = SETTINGS.model_copy(update={"max_regression": 0.05})
    few = [cut("new", f"label:{n}", 8, 7, 0, 2) for n in range(16)]
    many = [cut("old", f"label:{n}", 34, 1, 1, 1) for n in range(11)]
    assert judged_in(*few, *many, settings=demo).verdict == "PROMOTE"
    labels = [cut("new", f"label:{n}", 20, 17, 2, 9) for n in range(10)]
    labels += [cut("old", f"label:{n}", 12, 0, 0, 1) for n in range(49)]
    labels += [cut("old", f"label:{n}", 11, 1, 1, 1) for n in range(49, 64)]
    labels += [cut("old", f"label:{n}", 11, 0, 1, 1) for n in range(64, 67)]
    found = judged_in(*labels, settings=demo)
    assert found.verdict == "PROMOTE", found.reason
    assert found.watched is not None
    assert found.watched.slices == 77, "labels have too few items to be shown"
    assert len(found.fixed) == 11, "each of the ten new intents stays fixed"


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
    found = decide(SETTINGS, candidate, None, baseline=baseline)
    assert (found.verdict, found.interval, found.live_version_id) == (verdict, None, None)
    assert f"{right / 100:.1%}" in found.reason


@pytest.mark.parametrize(
    ("asked", "right", "verdict", "difference"),
    [
        pytest.param(range(90, 100), 2, "REJECT", -0.2, id="its sample is the harder half"),
        pytest.param(range(10), 6, "PROMOTE", 0.4, id="its sample is the easier half"),
    ],
)
def test_the_first_version_meets_the_base_model_on_the_items_that_both_were_asked(
    asked: range, right: int, verdict: str, difference: float
) -> None:
    candidate = [Item(f"i{n}", "old", n < 48) for n in range(100)]  # the easier items come first
    base = {f"i{n}": float(n < asked[right]) for n in asked}
    found = decide(SETTINGS, candidate, None, baseline=right / len(asked), base=base)
    assert (found.verdict, found.items) == (verdict, 10)
    assert found.difference == pytest.approx(difference)


def test_other_items_than_the_live_versions_are_an_error() -> None:
    candidate, live = pairs("new", 100, 10, 0, 10)
    for wrong in (live[:-1], [*live, Item("more", "new", True)], [*live[:-1], live[0]]):
        with pytest.raises(GateError, match="same items"):
            decide(SETTINGS, candidate, wrong)
    with pytest.raises(GateError, match="no items"):
        decide(SETTINGS, [], [])


def test_equal_inputs_in_any_order_give_the_same_verdict() -> None:
    candidate, live = pairs("new", 100, 60, 40, 100)
    first = decide(SETTINGS, candidate, live)
    assert first == decide(SETTINGS, candidate, live) == decide(SETTINGS, candidate[::-1], live[::-1])


def test_much_that_stays_fixed_costs_an_equal_candidate_little_and_giving_it_back_is_blocked() -> None:
    chance = np.random.default_rng(4)
    count = {0.0: 0, -0.6: 0}
    for loss in count:
        for _ in range(100):
            new = drawn(chance, 600, 0.1, 0.2, "new", "target")
            old = drawn(chance, 3000, 0.05, 0.0, "old", "part")
            won = [drawn(chance, 40, 0.05, loss if n == 0 else 0.0, f"hub {n}", "fixed") for n in range(10)]
            won = [replace(table, gain=0.7, part_noise=old.pairs.noise) for table in won]
            count[loss] += decide_counted(SETTINGS, [new, old, *won]).verdict == "PROMOTE"
    assert count[0.0] >= 97, "ten slices stay fixed"
    assert count[-0.6] == 0


def drawn(chance: np.random.Generator, items: int, noise: float, gain: float, name: str, role: Role) -> Table:
    """A table whose truth is known: what differs by chance, and beside it a true gain."""
    shares = [noise / 2 + max(gain, 0), noise / 2 - min(gain, 0), 1 - noise - abs(gain)]
    gained, lost, same = (int(n) for n in chance.multinomial(items, shares))
    return Table(Pairs(name, same, gained, lost, 0), role)


def promoted(loops: int, seed: int, *slices: tuple[int, float, float, str, Role]) -> int:
    chance = np.random.default_rng(seed)
    return sum(
        decide_counted(SETTINGS, [drawn(chance, *one) for one in slices]).verdict == "PROMOTE" for _ in range(loops)
    )


def test_of_a_hundred_thousand_equal_candidates_the_budget_is_kept() -> None:
    chance, items = np.random.default_rng(1), 500
    tables = chance.multinomial(items, [0.05, 0.05, 0.9], size=100_000)
    better = tables[tables[:, 0] - tables[:, 1] > 2 * np.sqrt(tables[:, 0] + tables[:, 1])]
    found = [Table(Pairs("all", int(same), int(gained), int(lost), 0), "target") for gained, lost, same in better]
    count = sum(decide_counted(SETTINGS, [table]).verdict == "PROMOTE" for table in found)
    assert len(found) > 1500, "so many would pass two standard errors"
    assert 1 <= count <= 20, "ten are declared; more than twenty would come once in 300 runs of a gate at its level"


def test_a_true_gain_of_three_points_is_seen_at_the_stated_size() -> None:
    assert promoted(400, 2, (2500, 0.07, 0.03, "all", "target")) >= 320


def test_a_planted_regression_of_a_slice_is_blocked_fifty_times_of_fifty() -> None:
    kept: tuple[Any, ...] = ((600, 0.1, 0.2, "new", "target"), (3000, 0.04, 0.0, "old", "part"))
    assert promoted(50, 3, *kept) >= 48, "without slices it is promoted"
    assert promoted(50, 3, *kept, (600, 0.04, -0.05, "old label:refund", "slice")) == 0
    assert promoted(50, 3, *kept, (600, 0.04, 0.0, "old label:refund", "slice")) >= 40, "a harmless one passes"
