"""Charts hold the numbers that they were given."""

from typing import Any

import pytest

from dashboard import charts


def drawn(chart: Any) -> dict[str, Any]:
    """Return a chart's specification."""
    assert chart is not None
    specification: dict[str, Any] = chart.to_dict()
    return specification


@pytest.mark.parametrize("verdict", [{}, {"verdict": "REJECT", "difference": None, "interval": None}])
def test_no_interval_is_drawn_without_numbers(verdict: dict[str, object]) -> None:
    assert charts.interval(verdict) is None


def test_the_interval_has_a_line_per_slice_and_a_tick_at_its_limit() -> None:
    parts = [
        {"slice": "new", "difference": 0.2, "interval": [0.1, 0.3], "margin": 0.0},
        {"slice": "old", "difference": 0.1, "interval": [0.0, 0.2], "margin": -0.02},
        {"slice": "old label:refund", "difference": None, "interval": [-1.0, 1.0], "margin": -0.02},
    ]
    drawing = drawn(charts.interval({"difference": 0.2, "interval": [0.1, 0.3], "slices": parts}))
    layers = {layer["mark"]["type"]: layer for layer in drawing["layer"] if "slice" in layer["data"]["values"][0]}
    assert [v["slice"] for v in layers["point"]["data"]["values"]] == ["new", "old"], "without items there is no line"
    assert [v["limit"] for v in layers["tick"]["data"]["values"]] == [0.0, -0.02]


def test_a_fault_is_drawn_as_a_loss_with_its_interval() -> None:
    kinds = {
        "word_order": {"items": 40, "drop": 0.1, "drop_interval": [-0.05, 0.2]},
        "paraphrase": {"items": 0, "note": "no answer"},
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
