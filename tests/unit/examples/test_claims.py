"""Each bar of the demo fails on the measurement that breaks it, and on nothing else."""

from dataclasses import replace
from typing import Any

import pytest

from examples.support.claims import GRADE_BARS, LABEL_BARS, Measured, hold_against_bars, upper_bound

GOOD = Measured(
    tuned=0.94,
    base=0.05,
    old_v1=0.95,
    new_v1=0.4,
    old_v2=0.94,
    new_v2=0.9,
    steady_checks=4,
    windows_to_alarm=2,
    requests_per_second=12.0,
    requests=600,
    bad_verdict="REJECT",
    rollback_seconds=2.0,
    has_rolled_back=True,
    circle_seconds=500.0,
)


def test_a_good_turn_holds_every_claim() -> None:
    assert [claim.text for claim in hold_against_bars(GOOD) if not claim.is_met] == []


def test_a_slow_circle_names_what_else_the_machine_did() -> None:
    told = [hold_against_bars(replace(GOOD, load_before=load, cores=2))[-1].measured for load in (0.4, 8.0)]
    assert told == ["8.3 minutes", "8.3 minutes, beside other work: load 8.0 on 2 cores before it began"]


GOOD_TEXTS = replace(
    GOOD, tuned=0.64, base=0.31, old_v1=0.66, new_v1=0.36, old_v2=0.65, new_v2=0.62, requests_per_second=6.0
)
"""What is good for texts, and fails the bars of labels."""


def test_a_turn_that_measured_nothing_fails() -> None:
    for bars in (LABEL_BARS, GRADE_BARS):
        assert sum(claim.is_met for claim in hold_against_bars(Measured(), bars)) == 0


def test_a_good_turn_of_texts_holds_every_claim_and_is_told_in_chrf() -> None:
    claims = hold_against_bars(GOOD_TEXTS, GRADE_BARS)
    assert [claim.text for claim in claims if not claim.is_met] == []
    assert [claims[0].measured, claims[4].measured] == ["64.0 against 31.0", "62.0, 87% recovered"]


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({"tuned": 0.50}, "tuned"),
        ({"new_v1": 0.57, "new_v2": 0.65}, "shifted traffic before"),
        ({"new_v2": 0.58}, "shifted traffic after"),
        ({"old_v2": 0.63}, "old traffic after"),
        ({"requests_per_second": 4.0}, "failed"),
        ({"circle_seconds": 901.0}, "the circle"),
    ],
)
def test_one_bad_measurement_of_texts_breaks_one_claim(change: dict[str, Any], broken: str) -> None:
    (claim,) = [claim for claim in hold_against_bars(replace(GOOD_TEXTS, **change), GRADE_BARS) if not claim.is_met]
    assert claim.text.startswith(broken)


def test_a_shift_that_lost_nothing_has_recovered_nothing() -> None:
    claims = hold_against_bars(replace(GOOD_TEXTS, new_v1=0.70, new_v2=0.70), GRADE_BARS)
    assert not claims[4].is_met


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({"tuned": 0.84}, "tuned"),
        ({"base": 0.31}, "tuned"),
        ({"new_v1": 0.76}, "shifted traffic before"),
        ({"steady_alarms": 1}, "alarms in the steady"),
        ({"windows_to_alarm": 4}, "windows from shift"),
        ({"windows_to_alarm": None}, "windows from shift"),
        ({"windows_to_alarm": -2}, "windows from shift"),
        ({"new_v2": 0.79}, "shifted traffic after"),
        ({"old_v2": 0.92}, "old traffic after"),
        ({"failures": 1}, "failed"),
        ({"requests_per_second": 9.0}, "failed"),
        ({"bad_verdict": "INCONCLUSIVE"}, "planted"),
        ({"is_bad_promoted": True}, "planted"),
        ({"bad_requests": 1}, "planted"),
        ({"rollback_seconds": 11.0}, "rollback"),
        ({"has_rolled_back": False}, "rollback"),
        ({"circle_seconds": 601.0}, "the circle"),
    ],
)
def test_one_bad_measurement_breaks_one_claim(change: dict[str, Any], broken: str) -> None:
    (claim,) = [claim for claim in hold_against_bars(replace(GOOD, **change)) if not claim.is_met]
    assert claim.text.startswith(broken)
    assert claim.is_required is (broken != "the circle")


def test_no_failure_seen_has_an_upper_bound() -> None:
    assert upper_bound(0, 600) == pytest.approx(0.005)
    assert upper_bound(3, 600) == pytest.approx(0.005)
