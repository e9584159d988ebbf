"""Charts hold the numbers that they were given."""

from typing import Any

import pytest

from dashboard import charts
from driftwheel.records.gate_verdict import GateVerdict, SliceVerdict
from driftwheel.records.scorecard import FaultScore, ReliabilityBin


def drawn(chart: Any) -> dict[str, Any]:
    """Return a chart's specification."""
    assert chart is not None
    specification: dict[str, Any] = chart.to_dict()
    return specification


@pytest.mark.parametrize("verdict", [GateVerdict(), GateVerdict(verdict="REJECT")], ids=["not judged", "no numbers"])
def test_no_interval_is_drawn_without_numbers(verdict: GateVerdict) -> None:
    assert charts.interval(charts.differences_of(verdict)) is None


def test_a_verdict_without_slices_is_one_line() -> None:
    (whole,) = charts.differences_of(GateVerdict(verdict="PROMOTE", difference=0.2, interval=(0.1, 0.3)))
    assert whole == charts.Difference(slice="target", difference=0.2, interval=(0.1, 0.3), verdict="PROMOTE")


def test_the_interval_has_a_line_per_slice_and_a_tick_at_its_limit() -> None:
    parts = (
        SliceVerdict(slice="new", difference=0.2, interval=(0.1, 0.3), margin=0.0),
        SliceVerdict(slice="old", difference=0.1, interval=(0.0, 0.2), margin=-0.02),
        SliceVerdict(slice="old label:refund", difference=None, interval=(-1.0, 1.0), margin=-0.02),
    )
    verdict = GateVerdict(difference=0.2, interval=(0.1, 0.3), slices=parts)
    drawing = drawn(charts.interval(charts.differences_of(verdict)))
    layers = {layer["mark"]["type"]: layer for layer in drawing["layer"] if "slice" in layer["data"]["values"][0]}
    assert [v["slice"] for v in layers["point"]["data"]["values"]] == ["new", "old"], "without items there is no line"
    assert [v["limit"] for v in layers["tick"]["data"]["values"]] == [0.0, -0.02]


def test_a_fault_is_drawn_as_a_loss_with_its_interval() -> None:
    kinds = {
        "word_order": FaultScore(items=40, drop=0.1, drop_interval=(-0.05, 0.2)),
        "paraphrase": FaultScore(items=0, note="no answer"),
    }
    drawing = drawn(charts.robustness(kinds))
    (point,) = next(layer["data"]["values"] for layer in drawing["layer"] if layer["mark"]["type"] == "point")
    assert {k: point[k] for k in ("slice", "difference", "low", "high")} == {
        "slice": "word order",
        "difference": -0.1,
        "low": -0.2,
        "high": 0.05,
    }
    assert charts.robustness({}) is None


def test_a_row_of_the_confusion_matrix_sums_to_one() -> None:
    values = charts.confusion(["a", "b"], [[3, 1], [0, 0]]).to_dict()["data"]["values"]
    assert [v["share"] for v in values] == [0.75, 0.25, 0, 0]


def test_a_bin_reaches_as_far_as_its_interval() -> None:
    one = ReliabilityBin(low=0.8, high=0.9, items=12, confidence=0.85, accuracy=0.75, interval=(0.47, 0.91))
    drawing = drawn(charts.reliability([one]))
    (rule,) = next(part["data"]["values"] for part in drawing["layer"] if part["mark"]["type"] == "rule")
    assert (rule["lowest"], rule["accuracy"], rule["highest"]) == (0.47, 0.75, 0.91)
