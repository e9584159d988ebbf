"""What to do next: first what hurts users, then what waits for a person, then what improves."""

from dataclasses import replace

import pytest

from dashboard.next_step import Situation, next_step
from driftwheel.records.nouns import DecisionStatus

FINE = Situation(
    gateway="serving",
    lamp="green",
    waiting=0,
    retrain=None,
    is_paused=False,
    unpromoted=None,
    has_version=True,
    has_labels=True,
)


@pytest.mark.parametrize(
    ("changes", "color", "goes_to"),
    [
        ({}, "green", ""),
        ({"gateway": "stale", "waiting": 2, "lamp": "red"}, "red", "driftwheel up"),
        ({"gateway": "silent"}, "red", "driftwheel up"),
        ({"gateway": "refused", "waiting": 1}, "red", "deployments"),
        ({"gateway": "empty", "has_version": False}, "orange", "driftwheel data build"),
        ({"gateway": "empty", "unpromoted": "v1"}, "orange", "model_versions"),
        ({"waiting": 1, "lamp": "red"}, "orange", "decisions"),
        ({"retrain": DecisionStatus.RUNNING, "lamp": "red"}, "blue", "training_runs"),
        ({"retrain": DecisionStatus.RUNNING, "is_paused": True}, "orange", "decisions"),
        ({"lamp": "red", "unpromoted": "v2"}, "orange", "drift_signals"),
        ({"unpromoted": "v2", "lamp": "amber"}, "orange", "model_versions"),
        ({"lamp": "amber"}, "orange", "drift_signals"),
        ({"has_labels": False}, "orange", "label"),
    ],
)
def test_the_most_urgent_step_comes_first(changes: dict[str, object], color: str, goes_to: str) -> None:
    found = next_step(replace(FINE, **changes))  # type: ignore[arg-type]  # fields of a situation
    assert (found.color, found.page or found.command) == (color, goes_to)
    assert bool(found.label) is bool(found.page), "a page has a button with words"
