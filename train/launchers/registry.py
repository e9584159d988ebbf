"""Chooses how a run's processes are started: the launcher that `train.executor` names.

A launcher is a module of this folder with one function, `launch(job) -> RunMetrics`. To add one, write
train/launchers/NAME.py and put NAME among the choices of `train.executor` in driftwheel/settings/training.py. Those
choices are the registry, so that a misspelled name is refused when the settings are read.
"""

import importlib
from collections.abc import Callable

from driftwheel.records.run_metrics import RunMetrics
from train.processes.process_tuning import use_one_gpu
from train.training.training_job import TrainingJob

Launcher = Callable[[TrainingJob], RunMetrics]


def launch(job: TrainingJob) -> RunMetrics:
    """Train a run as its settings say: in this process if there is to be only one, else by the executor."""
    train = job.settings.train
    if train.num_processes > 1:
        return launcher(train.executor)(job)
    use_one_gpu()  # before torch is imported, and looks for GPUs
    return launcher("here")(job)


def launcher(name: str) -> Launcher:
    """Return a launcher; only now its module is imported, and with it torch, TRL or Ray."""
    found: Launcher = importlib.import_module(f"train.launchers.{name}").launch
    return found
