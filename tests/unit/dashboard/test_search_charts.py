"""Charts of a search hold every trial in its place."""

import pytest

from dashboard import search_charts


def _trial(number: int, state: str, loss: float | None, **values: object) -> dict[str, object]:
    return {"number": number, "state": state, "eval_loss": loss, "values": values}


def test_the_search_shows_every_trial_and_the_least_loss_of_finished_ones_so_far() -> None:
    trials = [
        _trial(0, "complete", 0.9, lr=0.1),
        _trial(1, "pruned", 0.2, lr=0.2),
        _trial(2, "fail", None, lr=0.3),
        _trial(3, "complete", 0.4, lr=0.4),
    ]
    values = search_charts.search_history(trials).to_dict()["data"]["values"]
    assert [(v["trial"], v["best"]) for v in values] == [(0, 0.9), (1, 0.9), (3, 0.4)]


def test_parallel_coordinates_run_from_the_least_to_the_greatest_value() -> None:
    trials = [
        _trial(0, "complete", 0.9, lr=0.001, optim="adafactor"),
        _trial(1, "complete", 0.5, lr=0.01, optim="sgd"),
        _trial(2, "complete", 0.1, lr=0.1, optim="sgd"),
        _trial(3, "pruned", 0.0, lr=9.0, optim="x"),
    ]
    drawing = search_charts.search_lines(trials, {"lr": {"log": True}, "optim": ["adafactor", "sgd"]}).to_dict()
    places: dict[str, list[float]] = {}
    for row in drawing["data"]["values"]:
        places.setdefault(row["setting"], []).append(row["place"])
    assert places == {
        "lr": pytest.approx([0, 0.5, 1]),
        "optim": [0, 1, 1],
        "validation loss": pytest.approx([1, 0.5, 0]),
    }
