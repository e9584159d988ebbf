"""The calibration job: the part of `quantize` that runs where llm-compressor is installed.

    python train/weights/calibration_job.py JOB.json

It imports nothing of driftwheel, whose environment it does not share.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GROUP_SIZES = (128, 64, 32)
"""Columns that share a scale; the largest that divides every layer is taken."""
SMOOTHING_STRENGTH = 0.8
"""How much of the activations' range goes into the weights (Xiao et al. 2023, equation 4, has 0.5; llm-compressor's own
recipes for W8A8 take 0.8)."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What `quantize` wrote into the job file."""

    recipe: list[str]
    """Names of modifiers, in the order in which they are applied."""
    is_compressed: bool
    """Store codes with scales, and not the weights as they are after the modifiers."""
    model: str
    out: str
    texts: list[str]
    ignore: list[str]
    smoothed: dict[str, list[str]]
    """Norms whose output smoothing may scale, and the layers behind each."""
    max_length: int


def group_size(widths: set[int]) -> int:
    """Return the largest usable group size for layers of these input widths; 0 if there is none."""
    return next((size for size in GROUP_SIZES if all(width % size == 0 for width in widths)), 0)


def recipe(job: Job, model: Any) -> list[Any]:
    """Return the modifiers that the job names, in the order in which they are applied."""
    unknown = [name for name in job.recipe if name not in MODIFIERS]
    if unknown:
        sys.exit(f"error: llm-compressor's job has no modifier {unknown[0]}")
    return [MODIFIERS[name](job, model) for name in job.recipe]


def smoothquant(job: Job, model: Any) -> Any:
    """Move range from the activations into the weights."""
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

    mappings = [(behind, norm) for norm, behind in _smoothed(job).items()]
    return SmoothQuantModifier(smoothing_strength=SMOOTHING_STRENGTH, mappings=mappings)


def gptq_8_bits(job: Job, model: Any) -> Any:
    """Round weights and activations to 8 bits, each column making up for the error of those before it."""
    from llmcompressor.modifiers.gptq import GPTQModifier

    return GPTQModifier(targets=["Linear"], scheme="W8A8", ignore=job.ignore)


def gptq_4_bits(job: Job, model: Any) -> Any:
    """Round weights to 4 bits in the same way."""
    from llmcompressor.modifiers.gptq import GPTQModifier

    return GPTQModifier(config_groups={"group_0": four_bits(model, job.ignore)}, ignore=job.ignore)


def awq(job: Job, model: Any) -> Any:
    """Scale up the columns that matter most, so that rounding spares them."""
    from llmcompressor.modifiers.transform.awq import AWQMapping, AWQModifier

    return AWQModifier(mappings=[AWQMapping(norm, behind) for norm, behind in _smoothed(job).items()])


def round_4_bits(job: Job, model: Any) -> Any:
    """Round each weight to 4 bits by itself."""
    from llmcompressor.modifiers.quantization import QuantizationModifier

    return QuantizationModifier(config_groups={"group_0": four_bits(model, job.ignore)}, ignore=job.ignore)


def sparsegpt_2_4(job: Job, model: Any) -> Any:
    """Set two of four weights to zero, the others making up for them."""
    from llmcompressor.modifiers.pruning import SparseGPTModifier

    return SparseGPTModifier(sparsity=0.5, mask_structure="2:4", targets=["Linear"], ignore=job.ignore)


MODIFIERS: dict[str, Callable[[Job, Any], Any]] = {
    one.__name__: one for one in (smoothquant, gptq_8_bits, gptq_4_bits, awq, round_4_bits, sparsegpt_2_4)
}
"""What a scheme's recipe may name (driftwheel/quantization.py)."""


def _smoothed(job: Job) -> dict[str, list[str]]:
    """Return the patterns of the norms that smoothing divides, and of the layers behind each."""
    return {f"re:.*\\.{norm}$": [f"re:.*{name}$" for name in behind] for norm, behind in job.smoothed.items()}


def four_bits(model: Any, ignore: list[str]) -> Any:
    """Return 4-bit weights in groups that fit every layer."""
    import torch
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme, QuantizationStrategy

    linear = {name: m.in_features for name, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    size = group_size({width for name, width in linear.items() if name not in ignore})
    if size == 0:
        sys.exit("error: 4 bits need layers whose width is a multiple of 32; set quantize.scheme to w8a8")
    weights = QuantizationArgs(
        num_bits=4, type="int", symmetric=True, strategy=QuantizationStrategy.GROUP, group_size=size
    )
    return QuantizationScheme(targets=["Linear"], weights=weights)


def compress(job: Job) -> None:
    """Apply the job's recipe to its model, with its texts as calibration, and save the checkpoint."""
    import torch
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.pipelines.cache import IntermediatesCache
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not torch.accelerator.is_available():
        # AWQ pins what it keeps for the GPU, and pinning fails where there is none (llm-compressor 0.14.0.1).
        IntermediatesCache.pin_memory = lambda *_: None
    model = AutoModelForCausalLM.from_pretrained(job.model, dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained(job.model)
    # The chat template has written the special tokens already.
    rows = tokenizer(job.texts, truncation=True, max_length=job.max_length, add_special_tokens=False)
    oneshot(
        model=model,
        tokenizer=tokenizer,
        dataset=Dataset.from_dict({"input_ids": rows["input_ids"], "attention_mask": rows["attention_mask"]}),
        recipe=recipe(job, model),
        num_calibration_samples=len(job.texts),
        max_seq_length=job.max_length,
    )
    model.save_pretrained(job.out, save_compressed=job.is_compressed)


if __name__ == "__main__":
    compress(Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
