"""Confidence and its calibration against numbers worked out by hand."""

import math

import pytest

from train.asking.client import Token
from train.evaluation.confidence import Calibration, calibration, confidence


def tokens(*parts: tuple[str, float]) -> list[Token]:
    return [(text.encode(), math.log(share)) for text, share in parts]


ANSWER = tokens(('{"', 0.9), ("intent", 0.9), ('": "', 0.9), ("kä", 0.8), ("rte", 0.5), ('"}', 0.5), ("<end>", 0.9))


@pytest.mark.parametrize(
    ("answer", "found", "label", "field", "sure"),
    [
        pytest.param('{"intent": "kärte"}', ANSWER, "kärte", "intent", 0.8 * 0.5 * 0.5, id="the label up to its mark"),
        pytest.param('{"intent": "kärte"}', ANSWER, None, "intent", 0.9**4 * 0.8 * 0.25, id="no label: the answer"),
        pytest.param("kärte", tokens(("kär", 0.5), ("te", 0.5), ("<end>", 0.5)), "kärte", None, 0.125, id="no field"),
        pytest.param('{"intent": "a"}', tokens(("t", 0.5)), "a", "intent", 0.5, id="tokens that spell something else"),
        pytest.param('{"n": 1}', tokens(('{"n": ', 0.9), ("1", 0.5), ("}", 0.5)), "1", "n", 0.25, id="a number"),
        pytest.param("kärte", [], "kärte", None, None, id="no log-probabilities"),
    ],
)
def test_confidence_is_the_probability_of_the_label(
    answer: str, found: list[Token], label: str | None, field: str | None, sure: float | None
) -> None:
    assert confidence(answer, found, label, field) == (None if sure is None else pytest.approx(sure))


def test_a_label_is_looked_for_behind_its_field() -> None:
    answer = '{"team": "card", "intent": "card"}'
    found = tokens(('{"team": "', 1), ("card", 0.5), ('", "intent": "', 1), ("card", 0.25), ('"}', 1))
    assert confidence(answer, found, "card", "intent") == pytest.approx(0.25)


def test_a_label_that_is_a_number_is_found_without_marks() -> None:
    found = tokens(('{"n": 12, "grade": ', 1), ("12", 0.5), ("}", 0.5), ("<end>", 0.5))
    assert confidence('{"n": 12, "grade": 12}', found, "12", "grade") == pytest.approx(0.25)


def test_the_calibration_error_is_the_weighted_gap_of_the_bins() -> None:
    found = calibration([0.95, 0.95, 0.95, 0.95, 0.25, 1.0], [True, True, True, False, True, True])
    low, high = found.reliability or ()
    assert (low.items, low.confidence, low.accuracy) == (1, 0.25, 1)
    assert (high.items, high.high, high.accuracy) == (5, 1, 0.8)
    assert high.confidence == pytest.approx(0.96)
    assert found.calibration_error == pytest.approx((5 * 0.16 + 1 * 0.75) / 6), "too sure and not sure enough"
    assert found.brier == pytest.approx((3 * 0.05**2 + 0.95**2 + 0.75**2) / 6)
    assert calibration([], []) == Calibration()
