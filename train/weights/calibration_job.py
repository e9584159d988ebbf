"""A job file becomes a calibrated checkpoint: the half of `quantize` that runs where llm-compressor is installed.

    python train/weights/calibration_job.py JOB.json

It imports nothing of driftwheel, whose environment it does not share.
"""

import json
import sys
from pathlib import Path
from typing import Any

GROUP_SIZES = (128, 64, 32)
"""Columns that share a scale; the largest that divides every layer is taken."""
SMOOTHING_STRENGTH = 0.8
"""How much of the activations' range goes into the weights (Xiao et al. 2023, equation 4, has 0.5; llm-compressor's own
recipes for W8A8 take 0.8)."""


def group_size(widths: set[int]) -> int:
    """Return the largest usable group size for layers of these input widths; 0 if there is none."""
    return next((size for size in GROUP_SIZES if all(width % size == 0 for width in widths)), 0)


def recipe(job: dict[str, Any], model: Any) -> list[Any]:
    """Return the modifiers of the job's scheme, in the order in which they are applied."""
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.pruning import SparseGPTModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQMapping, AWQModifier
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

    ignore = job["ignore"]
    smoothed = {f"re:.*\\.{norm}$": [f"re:.*{name}$" for name in behind] for norm, behind in job["smoothed"].items()}
    match job["scheme"]:
        case "w8a8_gptq":
            mappings = [(behind, norm) for norm, behind in smoothed.items()]
            smooth = SmoothQuantModifier(smoothing_strength=SMOOTHING_STRENGTH, mappings=mappings)
            return [smooth, GPTQModifier(targets=["Linear"], scheme="W8A8", ignore=ignore)]
        case "w4a16":
            return [GPTQModifier(config_groups={"group_0": four_bits(model, ignore)}, ignore=ignore)]
        case "w4a16_awq":
            mappings = [AWQMapping(norm, behind) for norm, behind in smoothed.items()]
            rounded = QuantizationModifier(config_groups={"group_0": four_bits(model, ignore)}, ignore=ignore)
            return [AWQModifier(mappings=mappings), rounded]
        case "pruned_2_4":
            return [SparseGPTModifier(sparsity=0.5, mask_structure="2:4", targets=["Linear"], ignore=ignore)]
    sys.exit(f"error: llm-compressor's job has no scheme {job['scheme']}")


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


def compress(job: dict[str, Any]) -> None:
    """Apply the job's recipe to its model, with its texts as calibration, and save the checkpoint."""
    import torch
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.pipelines.cache import IntermediatesCache
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not torch.accelerator.is_available():
        # AWQ pins what it keeps for the GPU, and pinning fails where there is none (llm-compressor 0.14.0.1).
        IntermediatesCache.pin_memory = lambda *_: None
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    rows = tokenizer(job["texts"], truncation=True, max_length=job["max_length"], add_special_tokens=False)
    oneshot(
        model=model,
        tokenizer=tokenizer,
        dataset=Dataset.from_dict({"input_ids": rows["input_ids"], "attention_mask": rows["attention_mask"]}),
        recipe=recipe(job, model),
        num_calibration_samples=len(job["texts"]),
        max_seq_length=job["max_length"],
    )
    model.save_pretrained(job["out"], save_compressed=job["scheme"] != "pruned_2_4")


if __name__ == "__main__":
    compress(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
