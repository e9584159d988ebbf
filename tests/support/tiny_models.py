"""Small random models and adapters from a seed, as artifacts for vLLM; no two answer alike."""

from pathlib import Path

from driftwheel.files import artifacts
from driftwheel.files.artifacts import writing
from examples.support.build_base import make_model, make_tokenizer
from examples.support.world import unlabelled_text

RANK = 8
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SPREAD = 0.2
"""Of the adapter's second factors, which PEFT leaves at zero: enough that every answer is another one."""


def build_tiny_model(folder: Path, seed: int, dtype: str = "bfloat16") -> Path:
    """Write an untrained Qwen3 of about 3 million parameters with its tokenizer as an artifact."""
    import torch

    torch.manual_seed(seed)
    tokenizer = make_tokenizer(unlabelled_text(100, 0))
    model = make_model(tokenizer)
    with writing(folder, {"seed": seed}) as aside:
        model.to(getattr(torch, dtype)).save_pretrained(aside)
        tokenizer.save_pretrained(aside)
    return folder


def build_tiny_adapter(folder: Path, base: Path, seed: int, dtype: str = "bfloat16") -> Path:
    """Write a random LoRA adapter of a tiny model as an artifact that is loaded beside it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype="float32")
    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=TARGETS, task_type="CAUSAL_LM")
    torch.manual_seed(seed)
    adapted = get_peft_model(model, config)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            weight.data = SPREAD * torch.randn_like(weight)
    facts = {
        "kind": "adapter",
        "base_model": str(base),
        "base_revision": "",
        "rank": RANK,
        "dtype": dtype,
        "target_modules": sorted(TARGETS),
        "base_identity": artifacts.read_manifest(base).content_hash,
        "quantization": "none",
    }
    with writing(folder, facts) as aside:
        adapted.save_pretrained(aside)
        (aside / "README.md").unlink(missing_ok=True)  # a card that PEFT leaves, with the time in it
    return folder
