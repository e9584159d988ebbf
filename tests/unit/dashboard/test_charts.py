"""Charts hold the numbers that they were given."""

from typing import Any

import pytest

from dashboard import charts
from driftwheel.records import DriftKind, DriftSignal, DriftVerdict


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


def test_a_curve_leaves_out_points_without_a_value() -> None:
    points = [{"step": 1, "loss": 2.0, "eval_loss": None}, {"step": 2, "loss": None, "eval_loss": 1.5}]
    values = charts.curve(points, {"loss": "training", "eval_loss": "validation"}, "loss").to_dict()["data"]["values"]
    assert values == [
        {"step": 1, "value": 2.0, "curve": "training"},
        {"step": 2, "value": 1.5, "curve": "validation"},
    ]


def test_a_row_of_the_confusion_matrix_sums_to_one() -> None:
    values = charts.confusion(["a", "b"], [[3, 1], [0, 0]]).to_dict()["data"]["values"]
    assert [v["share"] for v in values] == [0.75, 0.25, 0, 0]


def test_the_timeline_divides_by_the_threshold() -> None:
    signal = DriftSignal(
        id="s",
        project="p",
        version_id="v",
        kind=DriftKind.INPUT,
        feature="all",
        method="mmd",
        score=3.0,
        threshold=2.0,
        reference_rows=1,
        current_rows=1,
        verdict=DriftVerdict.DRIFTED,
        check_id="c",
    )
    assert charts.drift_timeline([signal]).to_dict()["data"]["values"][0]["ratio"] == 1.5


def _trial(number: int, state: str, loss: float | None, **values: object) -> dict[str, object]:
    return {"number": number, "state": state, "eval_loss": loss, "values": values}


def test_the_search_shows_every_trial_and_the_least_loss_of_finished_ones_so_far() -> None:
    trials = [
        _trial(0, "complete", 0.9, lr=0.1),
        _trial(1, "pruned", 0.2, lr=0.2),
        _trial(2, "fail", None, lr=0.3),
        _trial(3, "complete", 0.4, lr=0.4),
    ]
    values = charts.search_history(trials).to_dict()["data"]["values"]
    assert [(v["trial"], v["best"]) for v in values] == [(0, 0.9), (1, 0.9), (3, 0.4)]


def test_parallel_coordinates_run_from_the_least_to_the_greatest_value() -> None:
    trials = [
        _trial(0, "complete", 0.9, lr=0.001, optim="adafactor"),
        _trial(1, "complete", 0.5, lr=0.01, optim="sgd"),
        _trial(2, "complete", 0.1, lr=0.1, optim="sgd"),
        _trial(3, "pruned", 0.0, lr=9.0, optim="x"),
    ]
    drawing = charts.search_lines(trials, {"lr": {"log": True}, "optim": ["adafactor", "sgd"]}).to_dict()
    places: dict[str, list[float]] = {}
    for row in drawing["data"]["values"]:
        places.setdefault(row["setting"], []).append(row["place"])
    assert places == {
        "lr": pytest.approx([0, 0.5, 1]),
        "optim": [0, 1, 1],
        "validation loss": pytest.approx([1, 0.5, 0]),
    }
