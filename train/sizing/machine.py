"""Detects what training and serving may use of this machine: memory, number types, attention, quantization."""

import importlib.metadata
import importlib.util
from dataclasses import dataclass

from driftwheel.machine.accelerator import look
from driftwheel.machine.processor import this_processor
from driftwheel.machine.system import available_bytes
from driftwheel.machine.training_speed import Speed
from driftwheel.quantization import usable_schemes
from driftwheel.settings.training import TrainSettings
from train.processes.number_type import BF16_CAPABILITY, speed


@dataclass(frozen=True)
class Machine:
    """What there is."""

    memory_bytes: float
    """Memory that a training may take: what is free on the largest GPU, or what the system has available."""
    gpu: str | None
    capability: tuple[int, int] | None
    """CUDA compute capability."""
    cpu_flags: frozenset[str]
    packages: frozenset[str]
    """Those of bitsandbytes, flash_attn, ray and zentorch that are installed."""
    gpu_count: int = 0
    is_amd: bool = False
    """Whether AMD made the processor."""
    speed: Speed | None = None
    """What was measured of number types and threads; None with a GPU."""

    def trains_in_bf16(self, train: TrainSettings) -> bool:
        """Say whether a training computes in bfloat16 here: as it is set, else as is faster."""
        if train.bf16 is not None:
            return train.bf16
        if self.capability is not None:
            return self.capability >= BF16_CAPABILITY
        return self.speed is None or self.speed.is_bf16_faster(train.method)

    @property
    def number_type(self) -> str:
        """What is known of number types here, for a person."""
        if self.capability is not None:
            return "bfloat16" if self.capability >= BF16_CAPABILITY else "float32: bfloat16 is slow here"
        return "not measured" if self.speed is None else f"{self.speed.told} (measured)"

    @property
    def attention(self) -> str:
        """The attention that transformers takes here by itself, and why no other."""
        if self.capability is None:
            return "sdpa (flash_attention_2 needs a GPU)"
        has_flash = "flash_attn" in self.packages
        return "sdpa" + (
            "; flash_attn is installed and can be set" if has_flash else "; flash_attn is not installed and not needed"
        )

    @property
    def processes(self) -> str:
        """How many processes can train together here, and what more machines need."""
        here = f"{self.gpu_count} GPUs" if self.gpu_count > 1 else "one GPU" if self.gpu_count else "no GPU"
        local = f"{here}; train.num_processes {max(1, self.gpu_count)} uses what is here"
        ray = "Ray is installed" if "ray" in self.packages else "Ray is not installed: pip install -e '.[ray]'"
        return f"{local}; several machines: train.executor ray ({ray})"

    @property
    def quantizations(self) -> list[str]:
        """Schemes whose kernels vLLM has here, the usual choice first."""
        return usable_schemes(self.capability, self.cpu_flags)

    @property
    def faster_kernels(self) -> str | None:
        """How to get kernels with which vLLM serves quantized models faster here; None where there are none to get."""
        if self.capability is not None or not self.is_amd or "zentorch" in self.packages:
            return None
        release = ".".join(importlib.metadata.version("torch").split(".")[:2])
        return f"pip install --no-deps 'zentorch=={release}.*' deprecated wrapt"

    def lacks(self, train: TrainSettings) -> str | None:
        """Return what a method needs that is not here, and how to get it."""
        if train.method != "qlora":
            return None
        if self.capability is None:
            return "needs a CUDA GPU"
        return None if "bitsandbytes" in self.packages else "needs bitsandbytes: pip install -e '.[gpu]'"


def this_machine() -> Machine:
    """Look at this machine."""
    packages = frozenset(p for p in ("bitsandbytes", "flash_attn", "ray", "zentorch") if importlib.util.find_spec(p))
    found, seen = look(), this_processor()
    if not found.has_gpu:
        memory = float(available_bytes())
        return Machine(memory, None, None, seen.flags, packages, is_amd=seen.is_amd, speed=speed())
    best = max(found.gpus, key=lambda gpu: gpu.free_bytes)
    return Machine(float(best.free_bytes), best.name, best.capability, seen.flags, packages, len(found.gpus))
