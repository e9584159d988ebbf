"""What an engine takes of a GPU, and what of it is free, by tables; every number can be counted by hand."""

from typing import Any

import pytest

from driftwheel.errors import ConfigError
from driftwheel.machine.accelerator import Gpu, GpuProcess
from driftwheel.machine.gpu_memory import (
    ENGINE_BYTES,
    GIB,
    CacheShape,
    EngineLimits,
    Holder,
    available_bytes,
    cache_shape,
    engine_need,
    owner_of,
    why_no_room,
)

H200 = Gpu(index=0, uuid="GPU-a", name="NVIDIA H200", total_bytes=140 * GIB, free_bytes=139 * GIB)
QWEN = {"num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "hidden_size": 1024}
LLAMA_8B = CacheShape(layers=32, heads=8, head_size=128)


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (QWEN, CacheShape(layers=28, heads=8, head_size=64)),
        ({**QWEN, "head_dim": 128}, CacheShape(layers=28, heads=8, head_size=128)),
        ({"n_layer": 12, "n_head": 12, "n_embd": 768}, CacheShape(layers=12, heads=12, head_size=64)),
        ({"text_config": QWEN, "vision_config": {}}, CacheShape(layers=28, heads=8, head_size=64)),
        ({"d_model": 512, "n_layers": 4}, None),
        ({**QWEN, "num_hidden_layers": "28"}, None),
    ],
)
def test_the_cache_is_read_from_the_models_configuration(config: dict[str, Any], shape: CacheShape | None) -> None:
    assert cache_shape(config) == shape


def test_a_token_of_an_8b_model_takes_128_kib_and_heads_are_shared_out() -> None:
    assert LLAMA_8B.token_bytes(1) == 2 * 32 * 8 * 128 * 2 == 128 << 10
    assert LLAMA_8B.token_bytes(4) == 32 << 10
    assert LLAMA_8B.token_bytes(16) == 16 << 10, "a head cannot be cut"
    assert CacheShape(layers=1, heads=3, head_size=1).token_bytes(2) == 8, "one GPU has two of three heads"


def limits(**changes: Any) -> EngineLimits:
    return EngineLimits(**{"requests": 32, "tokens": 1024, "share": 0.4, **changes})


@pytest.mark.parametrize(
    ("changes", "weights", "cache"),
    [
        ({}, 15 * GIB, 8 * GIB),  # 2 x 32 x 1024 tokens of 128 KiB
        ({"requests": 1024}, 15 * GIB, 56 * GIB - 15 * GIB - ENGINE_BYTES),  # all that 40 % leave
        ({"cache_bytes": 3 * GIB}, 15 * GIB, 3 * GIB),
        ({"tensor_parallel": 2}, 7.5 * GIB, 4 * GIB),
    ],
)
def test_an_engine_takes_weights_cache_and_what_it_is_made_of(
    changes: dict[str, Any], weights: float, cache: int
) -> None:
    need = engine_need("v1", 15 * GIB, LLAMA_8B, limits(**changes), H200)
    assert (need.weights, need.cache) == (weights, cache)
    assert need.total == weights + cache + ENGINE_BYTES


def test_a_share_too_small_for_one_request_is_an_error_that_names_the_settings() -> None:
    with pytest.raises(ConfigError, match=r"needs 17\.1 GiB for its weights and one request") as raised:
        engine_need("v1", 15 * GIB, LLAMA_8B, limits(share=0.12), H200)
    for setting in ("gpu_memory_utilization", "max_model_len", "tensor_parallel"):
        assert f"serve.{setting}" in str(raised.value)


def holder(name: str, promised: int, process_id: int, *devices: int) -> Holder:
    return Holder(name=name, promised_bytes=promised * GIB, devices=devices or (0,), process_id=process_id)


def process(process_id: int, used: float | None, uuid: str = "GPU-a") -> GpuProcess:
    used_bytes = None if used is None else int(used * GIB)
    return GpuProcess(uuid=uuid, process_id=process_id, name="python", used_bytes=used_bytes)


PARENTS = {11: 10, 21: 20}
"""vLLM's memory is that of the child of the process that was started."""


def ancestors(process_id: int) -> list[int]:
    return [process_id, PARENTS[process_id]] if process_id in PARENTS else [process_id]


@pytest.mark.parametrize(
    ("free", "processes", "holders", "left"),
    [
        (139, [], [], 139),
        # An engine that starts: nothing is taken yet, and all of it is promised.
        (139, [], [holder("v1", 25, 10)], 115),
        (137, [process(11, 2)], [holder("v1", 25, 10)], 114),
        # It has all that it was promised, or more.
        (114, [process(11, 25)], [holder("v1", 25, 10)], 114),
        (112, [process(11, 27)], [holder("v1", 25, 10)], 112),
        # Two of ours, one of which starts, beside another program.
        (80, [process(11, 25), process(77, 34)], [holder("v1", 25, 10), holder("v2", 25, 20)], 55),
        # The driver does not show whose memory it is: what was promised counts as taken.
        (100, [process(11, None)], [holder("v1", 25, 10)], 100),
        (139, [process(11, None)], [holder("v1", 25, 10)], 115),
        # Another GPU's engines take nothing of this one.
        (139, [], [holder("v1", 25, 10, 1)], 139),
    ],
)
def test_what_was_promised_is_not_free_before_it_is_taken(
    free: int, processes: list[GpuProcess], holders: list[Holder], left: int
) -> None:
    gpu = Gpu(index=0, uuid="GPU-a", total_bytes=140 * GIB, free_bytes=free * GIB)
    assert available_bytes(gpu, processes, holders, ancestors) == left * GIB


def test_memory_belongs_to_the_nearest_process_to_which_it_was_promised() -> None:
    both = [holder("worker", 1, 20), holder("engine", 1, 21)]
    assert owner_of(process(21, 1), both, ancestors) == 21
    assert owner_of(process(11, 1), both, ancestors) is None


def test_the_error_says_what_needs_how_much_and_what_holds_how_much() -> None:
    text = why_no_room(
        "engine v2", 25 * GIB, H200, 9 * GIB, [holder("engine v1", 56, 10)], [process(77, 75), process(78, None)]
    )
    assert text == (
        "engine v2 needs 25.0 GiB of GPU 0 (NVIDIA H200), and 9.0 GiB of 140.0 GiB are free; held by engine v1 "
        "56.0 GiB, process 77 (python) 75.0 GiB, process 78 (python) an unknown part"
    )
