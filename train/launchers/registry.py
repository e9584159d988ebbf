"""Chooses how a run's processes are started: the launcher that `train.executor` names.

A launcher is a module of this folder with one function, `launch(job) -> RunMetrics`. To add one, write
train/launchers/NAME.py and put NAME among the choices of `train.executor` in driftwheel/settings/training.py. Those
choices are the registry, so that a misspelled name is refused when the settings are read.
"""

import importlib
from collections.abc import Callable

from driftwheel.errors import ConfigError
from driftwheel.run_metrics import RunMetrics
from driftwheel.settings.training import TrainSettings
from train.processes.process_tuning import use_one_gpu
from train.training.training_job import TrainingJob

Launcher = Callable[[TrainingJob], RunMetrics]


def launch(job: TrainingJob) -> RunMetrics:
    """Train a run as its settings say: in this process if there is to be only one, else by the executor.

    Raises ConfigError for what several processes cannot train together.
    """
    train = job.settings.train
    check_processes(train)
    if train.num_processes > 1:
        return launcher(train.executor)(job)
    use_one_gpu()  # before torch is imported, and looks for GPUs
    return launcher("here")(job)


def launcher(name: str) -> Launcher:
    """Return a launcher; only now its module is imported, and with it torch, TRL or Ray."""
    found: Launcher = importlib.import_module(f"train.launchers.{name}").launch
    return found


def check_processes(train: TrainSettings) -> None:
    """Raise ConfigError for what several processes cannot train together."""
    if train.num_processes == 1:
        if train.executor == "ray":
            raise ConfigError("train.executor ray needs train.num_processes of 2 or more: one process a worker")
        return
    if train.objective != "sft":
        raise ConfigError(
            f"train.objective {train.objective} compares the answers of one batch and trains in one process; "
            "set train.num_processes to 1"
        )
    if train.fsdp and train.method == "qlora":
        raise ConfigError("4-bit weights are not sharded here; set train.fsdp to false, or train.method to lora")
    if str(train.init_lora_weights).startswith("pissa"):
        raise ConfigError(
            f"train.init_lora_weights {train.init_lora_weights} needs the whole base to be saved again; "
            "set train.num_processes to 1"
        )
    if train.neftune_noise_alpha is not None:
        raise ConfigError("train.neftune_noise_alpha draws its noise in one process; set train.num_processes to 1")
