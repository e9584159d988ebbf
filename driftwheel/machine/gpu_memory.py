"""One plan for a GPU's memory: what an engine takes, and whether something fits beside what is there; pure.

| who | takes of a GPU | gives it back |
|---|---|---|
| live engine | weights, cache, ENGINE_BYTES; a part of each on `serve.tensor_parallel` GPUs | when another is live |
| candidate, canary or shadow | as much, beside the live one | when it is live or refused |
| warm engine of the version before | as much | as soon as anybody waits for room |
| the evaluation's engine | as much | when all items are answered |
| training | weights, gradients, optimizer, activations (`train/sizing/memory.py`) | at its end |
| other programs | what the driver says | nobody here can make them |

Sizes are computed from files and settings. Where the driver shows no processes, as in some containers, what was
promised to ours is taken as used.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from driftwheel.errors import ConfigError
from driftwheel.machine.accelerator import Gpu, GpuProcess

GIB = 1 << 30
ENGINE_BYTES = 2 * GIB
"""CUDA's context, kernels, activations and CUDA graphs of an engine; computed from its parts, not measured yet."""
CACHE_TURNS = 2
"""The cache holds every request that may run at once at its full length, and once more for prefixes to be reused."""
NUMBER_BYTES = 2
"""Of a cached number: vLLM keeps keys and values in the model's own 16 bits."""


@dataclass(frozen=True, kw_only=True)
class CacheShape:
    """What a model caches of each token."""

    layers: int
    heads: int
    """Key-value heads, which tensor parallel engines share out."""
    head_size: int

    def token_bytes(self, tensor_parallel: int) -> int:
        """Return a token's keys and values on one GPU; heads that are too few to share out are on each."""
        parts = min(tensor_parallel, self.heads)
        return 2 * self.layers * self.head_size * NUMBER_BYTES * -(-self.heads // parts)


@dataclass(frozen=True, kw_only=True)
class EngineNeed:
    """What an engine takes of one GPU, in bytes."""

    weights: int
    cache: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.cache + ENGINE_BYTES


@dataclass(frozen=True, kw_only=True)
class EngineLimits:
    """What the settings say of an engine on a GPU."""

    requests: int
    """At once, each of at most so many tokens:"""
    tokens: int
    share: float
    """Most of a GPU that one engine may take."""
    tensor_parallel: int = 1
    cache_bytes: int | None = None
    """Of each GPU, where a person has set it."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """One of our own processes to which memory was promised."""

    name: str
    promised_bytes: int
    devices: tuple[int, ...]
    process_id: int
    """What it starts belongs to it too."""


def cache_shape(config: Mapping[str, Any]) -> CacheShape | None:
    """Read what a config.json says of the cache; None for an architecture that says it in other words."""
    text = config.get("text_config", config)
    layers = text.get("num_hidden_layers", text.get("n_layer"))
    queries = text.get("num_attention_heads", text.get("n_head"))
    width = text.get("hidden_size", text.get("n_embd"))
    if not all(isinstance(value, int) and value > 0 for value in (layers, queries, width)):
        return None
    heads = text.get("num_key_value_heads") or queries
    return CacheShape(layers=layers, heads=heads, head_size=text.get("head_dim") or width // queries)


def engine_need(name: str, weights_bytes: int, shape: CacheShape, limits: EngineLimits, gpu: Gpu) -> EngineNeed:
    """Return what an engine takes of each of its GPUs; raises ConfigError if one request would not fit its share.

    The cache is as large as the settings can use, or what the share leaves.
    """
    weights = -(-weights_bytes // limits.tensor_parallel)
    token_bytes = shape.token_bytes(limits.tensor_parallel)
    wanted = limits.cache_bytes or CACHE_TURNS * limits.requests * limits.tokens * token_bytes
    left = int(limits.share * gpu.total_bytes) - weights - ENGINE_BYTES
    cache, least = min(wanted, left), limits.tokens * token_bytes
    if cache < least:
        most = limits.share * gpu.total_bytes
        raise ConfigError(
            f"an engine on {name} needs {_gib(weights + ENGINE_BYTES + least)} for its weights and one request, and "
            f"serve.gpu_memory_utilization {limits.share:g} of GPU {gpu.index} is {_gib(most)}: "
            "raise it, lower serve.max_model_len, set serve.tensor_parallel, or quantize the model further"
        )
    return EngineNeed(weights=weights, cache=cache)


def available_bytes(
    gpu: Gpu, processes: Sequence[GpuProcess], holders: Sequence[Holder], ancestors: Callable[[int], Sequence[int]]
) -> int:
    """Return what of a GPU is free and promised to nobody.

    An engine that starts takes its memory over half a minute; until then it is promised and still looks free.
    `ancestors` gives a process, its parent and so on: vLLM's memory is that of a child of the process that was started.
    """
    ours = [holder for holder in holders if gpu.index in holder.devices]
    here = [process for process in processes if process.uuid == gpu.uuid]
    if not here or any(process.used_bytes is None for process in here):
        return min(gpu.free_bytes, gpu.total_bytes - sum(holder.promised_bytes for holder in ours))
    used: dict[int, int] = {}
    for process in here:
        owner = owner_of(process, ours, ancestors)
        if owner is not None:
            used[owner] = used.get(owner, 0) + (process.used_bytes or 0)
    return gpu.free_bytes - sum(max(0, h.promised_bytes - used.get(h.process_id, 0)) for h in ours)


def owner_of(process: GpuProcess, holders: Sequence[Holder], ancestors: Callable[[int], Sequence[int]]) -> int | None:
    """Return which of our processes the memory of a process was promised to; None for another program's."""
    ours = {holder.process_id for holder in holders}
    return next((number for number in ancestors(process.process_id) if number in ours), None)


def why_no_room(
    name: str, needed_bytes: int, gpu: Gpu, free_bytes: int, holders: Sequence[Holder], foreign: Sequence[GpuProcess]
) -> str:
    """Say what needs how much of a GPU, and what holds how much of it."""
    held = [f"{h.name} {_gib(h.promised_bytes)}" for h in holders if gpu.index in h.devices]
    held += [
        f"process {p.process_id} ({p.name}) {'an unknown part' if p.used_bytes is None else _gib(p.used_bytes)}"
        for p in foreign
        if p.uuid == gpu.uuid
    ]
    return (
        f"{name} needs {_gib(needed_bytes)} of GPU {gpu.index} ({gpu.name}), and {_gib(max(0, free_bytes))} of "
        f"{_gib(gpu.total_bytes)} are free; held by {', '.join(held) or 'processes that the driver does not show'}"
    )


def _gib(count: float) -> str:
    return f"{count / GIB:.1f} GiB"
