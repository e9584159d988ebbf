"""What each demo asks and says is enough for its own settings: a retrain starts before the traffic ends."""

import math

import pytest

from driftwheel.settings.load import load_settings
from examples.support.demo_tasks import SUPPORT, TEXT
from examples.support.task import Task


@pytest.mark.parametrize("task", [SUPPORT, TEXT], ids=["labels", "texts"])
def test_a_demo_corrects_enough_for_its_retrain_before_its_traffic_ends(task: Task) -> None:
    """Guests' thumbs are left out: how many of them count is capped, and how many are up depends on the model."""
    settings = load_settings(task.config)
    sizes, share = task.sizes, task.speaking.corrected_share
    windows = sizes.steady_windows + sizes.shifted_windows - 1  # the policy decides in the last one at the latest
    # Nothing is said of the held-out requests; those of the shift come beside its windows.
    asked = windows * settings.monitor.window_rows - sizes.held_out_rows
    by_chance = 4 * math.sqrt(asked * share * (1 - share))
    assert share * asked - by_chance >= settings.policy.min_fresh_labels
