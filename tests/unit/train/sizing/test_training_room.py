"""A training gets its GPU before it starts, or says why not; the GPU is a made-up one."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from driftwheel.errors import ConfigError, EngineError
from driftwheel.machine.accelerator import Accelerator, Builds, Gpu
from driftwheel.machine.gpu_memory import GIB
from driftwheel.machine.gpu_room import holders
from driftwheel.settings.settings import Settings
from driftwheel.settings.training import TrainSettings
from train.sizing.training_room import device_choices, training_room


def machine(*free: float, builds: Builds | None = None) -> Callable[[], Accelerator]:
    gpus = tuple(
        Gpu(index=n, uuid=f"GPU-{n}", name="H200", total_bytes=100 * GIB, free_bytes=int(gib * GIB))
        for n, gib in enumerate(free)
    )
    found = Accelerator(gpus=gpus, builds=builds or Builds(torch="2.13.0", vllm="0.32.0"))
    return lambda: found


def held_room(settings: Settings, look: Callable[[], Accelerator]) -> AbstractContextManager[None]:
    return training_room(settings.train, settings.serve, settings.base, settings.root, "run_1", look)


@pytest.fixture
def impatient(train_settings: Settings) -> Settings:
    serve = train_settings.serve.model_copy(update={"room_timeout_seconds": 0})
    return train_settings.model_copy(update={"serve": serve})


def test_the_gpu_with_most_free_memory_is_held_and_shown_while_it_trains(
    impatient: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with held_room(impatient, machine(20, 90)):
        (held,) = holders(impatient.root / "gpu")
        assert (held.name, held.devices) == ("training run_1", (1,))
        assert held.promised_bytes > 0.5 * GIB
        assert (os.environ["CUDA_VISIBLE_DEVICES"], os.environ["CUDA_DEVICE_ORDER"]) == ("1", "PCI_BUS_ID")
    assert holders(impatient.root / "gpu") == []
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_no_room_is_said_before_anything_is_loaded(impatient: Settings) -> None:
    refused = pytest.raises(EngineError, match=r"training run_1 needs .* train\.per_device_train_batch_size")
    with refused, held_room(impatient, machine(0.1)):
        pytest.fail("it began")


def test_without_a_gpu_nothing_is_held(impatient: Settings) -> None:
    with held_room(impatient, machine(90, builds=Builds(torch="2.13.0+cpu"))):
        assert not Path(impatient.root / "gpu").exists()


@pytest.mark.parametrize(
    ("changes", "choices"),
    [
        ({}, [(1,), (2,), (0,)]),
        ({"devices": [0]}, [(0,)]),
        ({"num_processes": 2}, [(1, 2), (1, 0), (2, 0)]),
        ({"num_processes": 2, "devices": [2, 0]}, [(2, 0)]),
    ],
)
def test_devices_are_those_that_are_set_or_those_with_most_free_memory(
    changes: dict[str, Any], choices: list[tuple[int, ...]]
) -> None:
    assert device_choices(TrainSettings(**changes), machine(10, 90, 50)().gpus) == choices


@pytest.mark.parametrize("changes", [{"devices": [3]}, {"num_processes": 4}, {"num_processes": 2, "devices": [1]}])
def test_devices_that_are_not_there_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="GPU"):
        device_choices(TrainSettings(**changes), machine(1, 1, 1)().gpus)
