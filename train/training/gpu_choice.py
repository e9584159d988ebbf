"""Chooses what makes a training quick on a GPU: attention without padding, and fused kernels, where they are there.

The batches stay those of the settings, so that loss and steps are those of a training without these: the rows of a
batch are laid end to end, and none of it is padding. That needs an attention that keeps rows apart by their positions.
None of this has run on a GPU yet.
"""

import importlib.util
from collections.abc import Set
from dataclasses import dataclass

from driftwheel.settings.training import TrainSettings

FLASH_CAPABILITY = (8, 0)
"""FlashAttention 2 has kernels from Ampere on."""
PACKAGES = ("flash_attn", "liger_kernel")
LIGER = {"rope": True, "rms_norm": True, "swiglu": True, "cross_entropy": False, "fused_linear_cross_entropy": False}
"""Liger's kernels for the layers. Those for the loss stay off: TRL has computed loss and head together since 1.15."""


@dataclass(frozen=True, kw_only=True)
class GpuChoice:
    """How a GPU trains."""

    attention: str | None = None
    """Name of transformers' attention; None leaves its own choice."""
    is_padding_free: bool = False
    has_liger: bool = False

    @property
    def arguments(self) -> dict[str, object]:
        """What a TRL trainer is told of it."""
        return {"use_liger_kernel": True, "liger_kernel_config": dict(LIGER)} if self.has_liger else {}


def gpu_choice(train: TrainSettings, capability: tuple[int, int] | None, packages: Set[str]) -> GpuChoice:
    """Return what to use on a GPU of that capability with these packages; on a CPU (None) there is nothing to choose.

    FlashAttention computes in 16 bits, so only where `train.bf16` is on. Rows with weights of their own are told apart
    by their place in the batch, which laying them end to end takes away. 4-bit layers are no layers of Liger's.
    """
    if capability is None:
        return GpuChoice()
    has_flash = "flash_attn" in packages and bool(train.bf16) and capability >= FLASH_CAPABILITY
    is_weighted = train.class_weights != "none"
    return GpuChoice(
        attention="flash_attention_2" if has_flash else None,
        is_padding_free=has_flash and train.objective == "sft" and not is_weighted,
        has_liger="liger_kernel" in packages and train.method != "qlora",
    )


def installed_kernels() -> frozenset[str]:
    """Return those of PACKAGES that are here."""
    return frozenset(name for name in PACKAGES if importlib.util.find_spec(name))
