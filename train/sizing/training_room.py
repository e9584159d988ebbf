"""Reserves a GPU's memory for a training before it starts, by the estimate of what it takes.

Nothing is reserved without a GPU, or where Ray places the processes on other machines.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path

from driftwheel.errors import ConfigError
from driftwheel.machine.accelerator import Accelerator, Gpu, look
from driftwheel.machine.gpu_room import FOLDER, Wanted, reserve
from driftwheel.settings.data import Base
from driftwheel.settings.serving import ServeSettings
from driftwheel.settings.training import TrainSettings
from train.base_model import load_config
from train.sizing.memory import estimate

REMEDY = (
    "halve train.per_device_train_batch_size and double train.gradient_accumulation_steps, set "
    "train.gradient_checkpointing, lower train.max_length, or name another GPU in train.devices"
)


@contextmanager
def training_room(
    train: TrainSettings,
    serve: ServeSettings,
    base: Base,
    root: Path,
    name: str,
    look: Callable[[], Accelerator] = look,
) -> Iterator[None]:
    """Hold memory of as many GPUs as there are processes, and show only those to what trains meanwhile.

    Raises ConfigError for devices that are not there, EngineError where there is no room.
    """
    found = look()
    if not found.has_gpu or train.executor == "ray" or not all(gpu.total_bytes for gpu in found.gpus):
        yield
        return
    wanted = Wanted(name=f"training {name}", bytes_per_gpu=needed_bytes(train, base), remedy=REMEDY)
    choices = device_choices(train, found.gpus)
    room = reserve(root / FOLDER, wanted, choices, serve.room_timeout_seconds, look)
    before = {variable: os.environ.get(variable) for variable in room.environment}
    os.environ.update(room.environment)
    try:
        yield
    finally:
        room.give_back()
        for variable, value in before.items():
            os.environ.pop(variable) if value is None else os.environ.update({variable: value})


def needed_bytes(train: TrainSettings, base: Base) -> int:
    """Return what one process of a training takes of its GPU, by the longest example that `max_length` allows."""
    config = load_config(base.source, revision=base.revision)
    return int(estimate(config, train, is_cuda=True).total)


def device_choices(train: TrainSettings, gpus: Sequence[Gpu]) -> list[tuple[int, ...]]:
    """Return the sets of GPUs that may train together, those with most free memory first."""
    indexes = [gpu.index for gpu in sorted(gpus, key=lambda gpu: -gpu.free_bytes)]
    if missing := [index for index in train.devices if index not in indexes]:
        raise ConfigError(
            f"train.devices names GPU {missing[0]}, and visible are {sorted(indexes)}; `driftwheel doctor` shows them"
        )
    chosen = train.devices or indexes
    if len(chosen) < train.num_processes:
        raise ConfigError(
            f"train.num_processes is {train.num_processes} and GPUs to train on are {chosen}; lower it, or set "
            "train.executor to ray to use several machines"
        )
    return list(combinations(chosen, train.num_processes))
