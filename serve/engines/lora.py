"""LoRA adapters: what an adapter's manifest asks of the vLLM engine that runs its base."""

from dataclasses import dataclass
from pathlib import Path

from driftwheel.errors import ConfigError
from driftwheel.files.artifacts import ArtifactManifest

ADAPTER = "adapter"
"""`kind` in the manifest of an artifact that is loaded beside its base."""
SLOTS = 4
"""Adapters that an engine answers with at once: live, candidate, shadow or canary, and the one before."""
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes as `--max-lora-rank` (vllm/config/lora.py)."""


@dataclass(frozen=True, kw_only=True)
class Lora:
    """An adapter, as far as its engine must fit it."""

    base_model: str
    base_revision: str | None
    base_identity: str
    """Content hash of the base's weights."""
    dtype: str
    rank: int
    target_modules: tuple[str, ...]
    template_hash: str | None
    tokenizer_hash: str | None

    @property
    def base(self) -> tuple[str | None, ...]:
        """What an engine must run for it, and how it must read conversations."""
        weights = self.base_model, self.base_revision, self.base_identity, self.dtype
        return *weights, self.template_hash, self.tokenizer_hash


def lora_in(manifest: ArtifactManifest) -> Lora | None:
    """Return the adapter that an artifact's manifest describes, or None for a whole model."""
    if manifest.kind != ADAPTER:
        return None
    return Lora(
        base_model=manifest.base_model or "",
        base_revision=manifest.base_revision or "",
        base_identity=manifest.base_identity or "",
        dtype=manifest.dtype or "auto",
        rank=manifest.rank or 0,
        target_modules=manifest.target_modules,
        template_hash=manifest.template_hash,
        tokenizer_hash=manifest.tokenizer_hash,
    )


def served_rank(rank: int) -> int:
    """Return the smallest `--max-lora-rank` of an engine that can take an adapter; raises ConfigError."""
    for allowed in RANKS:
        if allowed >= rank:
            return allowed
    raise ConfigError(f"an adapter of rank {rank} is over vLLM's {RANKS[-1]}; set merge.kind to merged")


def lora_arguments(lora: Lora, artifact: Path) -> list[str]:
    """Return the arguments of an engine on an adapter's base, which reads conversations as the adapter learned them.

    The modules are named because vLLM would else put LoRA around the output head too, and there a request for
    `prompt_logprobs` beside another request ends a CPU engine (vLLM 0.32, LogitsProcessorWithLoRA).
    """
    flags = ["--enable-lora", "--max-lora-rank", str(served_rank(lora.rank)), "--max-loras", str(SLOTS)]
    flags += ["--max-cpu-loras", str(2 * SLOTS), "--dtype", lora.dtype]
    flags += ["--lora-target-modules", *lora.target_modules]
    if lora.base_revision:
        flags += ["--revision", lora.base_revision]
    # Its tokenizer holds the template that it was trained with, which need not be the base's own.
    if (artifact / "tokenizer_config.json").is_file():
        return [*flags, "--tokenizer", str(artifact)]
    return [*flags, "--tokenizer-revision", lora.base_revision] if lora.base_revision else flags
