"""Charts over time hold the numbers that they were given."""

from dashboard import timelines
from driftwheel.records.nouns import DriftKind, DriftSignal, DriftVerdict


def test_a_curve_leaves_out_points_without_a_value() -> None:
    points = [{"step": 1, "loss": 2.0, "eval_loss": None}, {"step": 2, "loss": None, "eval_loss": 1.5}]
    values = timelines.curve(points, {"loss": "training", "eval_loss": "validation"}, "loss").to_dict()["data"][
        "values"
    ]
    assert values == [
        {"step": 1, "value": 2.0, "curve": "training"},
        {"step": 2, "value": 1.5, "curve": "validation"},
    ]


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
    assert timelines.drift_timeline([signal]).to_dict()["data"]["values"][0]["ratio"] == 1.5
