"""An engine on a GPU: how much it takes of which devices, the room that it reserves, and vLLM's flags for that."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from driftwheel.errors import ConfigError
from driftwheel.machine.accelerator import Accelerator, Gpu, look
from driftwheel.machine.gpu_memory import EngineLimits, EngineNeed, cache_shape, engine_need
from driftwheel.machine.gpu_room import FOLDER, Room, Wanted, reserve
from driftwheel.settings.serving import ServeSettings

GIB = 1 << 30
Look = Callable[[], Accelerator]


def need_of(serve: ServeSettings, model: str, gpu: Gpu) -> EngineNeed | None:
    """Return what an engine takes of a GPU; None for a model whose files are not here, or a GPU of unknown size.

    Raises ConfigError if its share of the GPU is too small for it.
    """
    folder = Path(model)
    weights_bytes = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    config_path = folder / "config.json"
    if not weights_bytes or not gpu.total_bytes or not config_path.is_file():
        return None
    shape = cache_shape(json.loads(config_path.read_text("utf-8")))
    limits = EngineLimits(
        requests=serve.max_num_seqs,
        tokens=serve.max_model_len,
        share=serve.gpu_memory_utilization,
        tensor_parallel=serve.tensor_parallel,
        cache_bytes=None if serve.gpu_kv_cache_gib is None else int(serve.gpu_kv_cache_gib * GIB),
    )
    return None if shape is None else engine_need(folder.name, weights_bytes, shape, limits, gpu)


def memory_flags(serve: ServeSettings, need: EngineNeed | None, gpu: Gpu | None) -> dict[str, str]:
    """Return vLLM's flags for an engine's memory on a GPU."""
    if need is None or gpu is None:
        return {"--gpu-memory-utilization": str(serve.gpu_memory_utilization)}
    # With a cache of given size vLLM does not measure, and so asserts nothing about what others free meanwhile. But it
    # still compares the share, 0.92 by default, with what is free when it starts (0.32, v1/worker/utils.py).
    share = max(0.01, int(1000 * need.total / gpu.total_bytes) / 1000)
    return {"--kv-cache-memory-bytes": str(need.cache), "--gpu-memory-utilization": str(share)}


def device_groups(serve: ServeSettings, gpus: Sequence[Gpu], replica: int) -> list[tuple[int, ...]]:
    """Return the groups of GPUs that an engine may run on, the replica's own turn first.

    Raises ConfigError if there are fewer than one engine needs, or one that is named is not visible.
    """
    indexes = [gpu.index for gpu in gpus]
    if missing := [index for index in serve.devices if index not in indexes]:
        raise ConfigError(
            f"serve.devices names GPU {missing[0]}, and visible are {indexes}; `driftwheel doctor` shows them"
        )
    chosen, size = serve.devices or indexes, serve.tensor_parallel
    groups = [tuple(chosen[at : at + size]) for at in range(0, len(chosen) - size + 1, size)]
    if not groups:
        raise ConfigError(f"serve.tensor_parallel is {size} and GPUs for engines are {chosen}; lower it, or add one")
    turn = replica % len(groups)
    return groups[turn:] + groups[:turn]


def room_for_engine(
    serve: ServeSettings, logs: Path, model: str, name: str, replica: int = 0, look: Look = look
) -> Room | None:
    """Reserve memory for an engine, and wait for it; None without a GPU, or where its memory is unknown.

    Raises ConfigError for devices that do not fit together, EngineError where there is no room.
    """
    found = look()
    if problems := found.problems():
        raise ConfigError(f"no engine can run: {'; '.join(problems)}")
    gpus = _planned(found)
    if not gpus:
        return None
    gpu = smallest(serve, gpus)
    need = need_of(serve, model, gpu)
    wanted = Wanted(
        name=f"engine {name}",
        bytes_per_gpu=need.total if need else int(serve.gpu_memory_utilization * gpu.total_bytes),
        remedy="lower serve.gpu_kv_cache_gib, serve.max_num_seqs or serve.gpu_memory_utilization",
    )
    return reserve(logs.parent / FOLDER, wanted, device_groups(serve, gpus, replica), serve.room_timeout_seconds, look)


def gpu_flags(serve: ServeSettings, model: str, look: Look = look) -> dict[str, str]:
    """Return vLLM's flags for an engine on this machine's GPUs."""
    gpus = _planned(look())
    gpu = smallest(serve, gpus) if gpus else None
    flags = memory_flags(serve, need_of(serve, model, gpu) if gpu else None, gpu)
    if serve.tensor_parallel > 1:
        flags["--tensor-parallel-size"] = str(serve.tensor_parallel)
    return flags


def fits_twice_on_gpu(serve: ServeSettings, model: str, look: Look = look) -> bool:
    """Say whether the GPUs have room for two such engines, as a swap without in-place reload needs it.

    Of their whole memory: what the warm engine and others of ours hold is given back before a swap.
    """
    gpus = _planned(look())
    if not gpus:
        return serve.gpu_memory_utilization <= 0.5
    gpu = smallest(serve, gpus)
    need = need_of(serve, model, gpu)
    taken = need.total if need else int(serve.gpu_memory_utilization * gpu.total_bytes)
    return len(device_groups(serve, gpus, 0)) * (gpu.total_bytes // taken) >= 2


def smallest(serve: ServeSettings, gpus: Sequence[Gpu]) -> Gpu:
    """Return the GPU with least memory among those that engines may use: what fits there fits on each of them."""
    allowed = {index for group in device_groups(serve, gpus, 0) for index in group}
    return min((gpu for gpu in gpus if gpu.index in allowed), key=lambda gpu: gpu.total_bytes)


def _planned(found: Accelerator) -> tuple[Gpu, ...]:
    """Return the GPUs of which the memory is known, all or none of them."""
    return found.gpus if found.has_gpu and all(gpu.total_bytes for gpu in found.gpus) else ()
