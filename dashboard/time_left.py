"""Estimates how long a running retrain still takes, from the steps of the retrains before it and from its own training.

An estimate, and said to be one: another dataset or another base model takes another time.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from statistics import median
from typing import Any

from driftwheel.records.bookkeeping import Step
from driftwheel.records.nouns import TrainingRun

REMEMBERED_STEPS = 60
"""Of earlier retrains: about six of them."""


def usual_seconds(earlier: Sequence[Step]) -> dict[str, float]:
    """Return how long each step took in earlier retrains, the median, in the order in which they ran last."""
    done: dict[str, list[float]] = {}
    for step in sorted(earlier, key=lambda s: s.created_at):
        if step.status == "done" and step.finished_at is not None:
            took = done.pop(step.name, [])  # put back at the end: the order of the newest retrain is the one that holds
            done[step.name] = [*took, (step.finished_at - step.created_at).total_seconds()]
    return {name: median(seconds) for name, seconds in done.items()}


def training_left(run: TrainingRun, points: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the seconds that a training still takes at the pace of its own curve; None where that cannot be told."""
    if not points:
        return None
    last = points[-1]
    most_steps, epochs = run.settings.get("max_steps", -1), run.settings.get("num_train_epochs")
    # As TRL has it: a number of steps above 0 replaces the epochs.
    is_by_steps = isinstance(most_steps, int) and most_steps > 0
    done, whole = (last.get("step"), most_steps) if is_by_steps else (last.get("epoch"), epochs)
    elapsed = last.get("elapsed_seconds")
    if not done or not whole or elapsed is None:
        return None
    return max(0.0, float(elapsed) * (float(whole) / float(done) - 1))


def seconds_left(
    steps: Sequence[Step], usual: Mapping[str, float], now: datetime, *, of_training: float | None = None
) -> float | None:
    """Return the seconds until the end of a retrain whose steps so far are given; None before any retrain has ended.

    `of_training` is what its training says of itself, which is better than what an earlier one took.
    """
    if not usual:
        return None
    begun = {step.name: step for step in steps}
    left = 0.0
    for name, seconds in usual.items():
        step = begun.get(name)
        if step is None:
            left += seconds
        elif step.status == "running":
            is_training = name == "finetune" and of_training is not None
            spent = (now - step.created_at).total_seconds()
            left += of_training if is_training and of_training is not None else max(0.0, seconds - spent)
    return left
