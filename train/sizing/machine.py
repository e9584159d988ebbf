"""Detects what training and serving may use of this machine: memory, number types, attention, quantization."""

import importlib.metadata
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from driftwheel.accelerator import look
from driftwheel.quantization import usable_schemes
from driftwheel.settings.training import TrainSettings
from driftwheel.system import available_bytes

BF16_CAPABILITY = (8, 0)
"""From Ampere on a GPU multiplies bfloat16 in hardware; older ones convert, and lose the time that it would save."""


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

    @property
    def has_fast_bf16(self) -> bool:
        """Whether bfloat16 has instructions of its own here; without them it is slower than float32."""
        if self.capability is not None:
            return self.capability >= BF16_CAPABILITY
        return bool(self.cpu_flags & {"avx512_bf16", "amx_bf16", "bf16"})

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
    found = look()
    if not found.has_gpu:
        processor = _processor()
        is_amd = processor.get("vendor_id") == "AuthenticAMD"
        return Machine(float(available_bytes()), None, None, _flags(processor), packages, is_amd=is_amd)
    best = max(found.gpus, key=lambda gpu: gpu.free_bytes)
    flags = _flags(_processor())
    return Machine(float(best.free_bytes), best.name, best.capability, flags, packages, len(found.gpus))


def _processor() -> dict[str, str]:
    """Return what Linux says about the first processor."""
    first, _, _ = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _flags(processor: dict[str, str]) -> frozenset[str]:
    return frozenset(processor.get("flags", processor.get("Features", "")).split())
