"""Measures which number type and how many threads train fastest on this machine's CPU, where that is not known yet.

A processor's flags do not tell: bfloat16 products are seven times as fast as float32 ones with AMX, and slower than
them on the same generation without it. Measured is a step of one layer as training takes it, once on frozen weights and
once on weights that are trained, whose types autocast changes at every product. The number type stays as it was first
found, because it is a part of what makes a run; the threads are found again beside other work, where all that wait for
each other may be slower than one alone.
"""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from driftwheel.machine.accelerator import has_gpu, look
from driftwheel.machine.processor import core_count
from driftwheel.machine.training_speed import (
    BFLOAT16,
    FLOAT32,
    Seconds,
    Speed,
    keep_speed,
    kept_speeds,
    machine_key,
    state_now,
)
from driftwheel.settings.training import TrainSettings

BF16_CAPABILITY = (8, 0)
"""From Ampere on a GPU multiplies bfloat16 in hardware; older ones convert, and lose the time that it would save."""
TOKENS, WIDTH, INNER = 512, 512, 1536
"""A batch of 16 short rows, and a layer of a model of 30 to 100 million parameters: a tenth of a second or less."""
ROUNDS, MOST_SECONDS = 5, 2.0
"""Of each of the two measurements, whichever ends it first."""


def with_number_type(train: TrainSettings) -> TrainSettings:
    """Return the settings with a number type: the one that they name, else the faster one of this machine."""
    if train.bf16 is not None:
        return train
    if has_gpu():
        capability = look().capability
        return train.model_copy(update={"bf16": capability is None or capability >= BF16_CAPABILITY})
    known = kept_speeds().get(machine_key()) or speed()
    return train.model_copy(update={"bf16": known.is_bf16_faster(train.method)})


def use_best_threads() -> None:
    """Let torch use as many threads as train fastest here now; what OMP_NUM_THREADS says wins."""
    if "OMP_NUM_THREADS" not in os.environ and not has_gpu():
        import torch

        state = state_now()  # once: measuring is work by itself, and may turn it
        torch.set_num_threads(speed(state).best_threads(state))


def speed(state: str | None = None, path: Path | None = None) -> Speed:
    """Return what was measured on this machine in a state before, or measure it now, which takes a few seconds."""
    state = state or state_now()
    known = kept_speeds(path).get(machine_key())
    if known is not None and state in known.threads:
        return known
    known = known or measure_types()
    found = replace(known, threads={**known.threads, state: measure_threads(known)})
    keep_speed(found, path)
    return found


def measure_types() -> Speed:
    """Measure the number types, with as many threads as torch uses by itself."""
    types, kinds = (BFLOAT16, FLOAT32), ("frozen", "trained")
    tries = {f"{kind} {name}": _step(name, is_frozen=kind == "frozen") for kind in kinds for name in types}
    least = least_seconds(tries)
    frozen, trained = ({name: least[f"{kind} {name}"] for name in types} for kind in kinds)
    return Speed(frozen=frozen, trained=trained, threads={})


def measure_threads(known: Speed) -> Seconds:
    """Measure the faster number type with one thread, with half of the cores, and with all of them."""
    import torch

    name = BFLOAT16 if known.is_bf16_faster("lora") else FLOAT32
    step, before = _step(name, is_frozen=True), torch.get_num_threads()

    def with_threads(count: int) -> Callable[[], None]:
        def run() -> None:
            torch.set_num_threads(count)
            step()

        return run

    try:
        return least_seconds({f"{n}": with_threads(n) for n in sorted({1, max(1, core_count() // 2), core_count()})})
    finally:
        torch.set_num_threads(before)


def least_seconds(tries: Mapping[str, Callable[[], None]], clock: Callable[[], float] = time.perf_counter) -> Seconds:
    """Run each in turns, so that what else the machine does falls on all, and return the least time of each.

    The first run of each is not counted: it fills caches and packs weights.
    """
    began_at, least = clock(), dict.fromkeys(tries, float("inf"))
    for run in tries.values():
        run()
    for _ in range(ROUNDS):
        for name, run in tries.items():
            before = clock()
            run()
            least[name] = min(least[name], clock() - before)
        if clock() - began_at > MOST_SECONDS:
            break
    return least


def _step(name: str, *, is_frozen: bool) -> Callable[[], None]:
    """Return a layer's forward and backward pass as a training in this type takes it."""
    import torch
    from torch.nn import functional

    dtype: Any = getattr(torch, name)
    generator = torch.Generator().manual_seed(0)
    held = dtype if is_frozen else torch.float32
    shapes = ((INNER, WIDTH), (INNER, WIDTH), (WIDTH, INNER))
    gate, up, down = (torch.randn(shape, generator=generator).mul(0.02).to(held) for shape in shapes)
    for weight in (gate, up, down):
        weight.requires_grad_(not is_frozen)
    x = torch.randn(TOKENS, WIDTH, generator=generator).to(held).requires_grad_()

    def run() -> None:
        is_autocast = not is_frozen and name == BFLOAT16
        with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16) if is_autocast else nullcontext():
            normal = x * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + 1e-6).to(x.dtype)
            inner = functional.silu(functional.linear(normal, gate)) * functional.linear(normal, up)
            result = x + functional.linear(inner, down)
        result.float().square().mean().backward()
        for tensor in (x, gate, up, down):
            tensor.grad = None

    return run
