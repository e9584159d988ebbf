"""A job file becomes a 4-bit checkpoint: the half of `quantize` that runs where llm-compressor is installed.

    python train/gptq_job.py JOB.json

It imports nothing of driftwheel, whose environment it does not share.
"""

import json
import sys
from pathlib import Path
from typing import Any

GROUP_SIZES = (128, 64, 32)
"""Columns that share a scale; the largest that divides every layer is taken."""


def group_size(widths: set[int]) -> int:
    """Return the largest usable group size for layers of these input widths; 0 if there is none."""
    return next((size for size in GROUP_SIZES if all(width % size == 0 for width in widths)), 0)


def quantize(job: dict[str, Any]) -> None:
    """Run GPTQ on the job's model with its texts as calibration and save the compressed checkpoint."""
    import torch
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme, QuantizationStrategy
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.gptq import GPTQModifier
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    linear = {name: m.in_features for name, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    size = group_size({width for name, width in linear.items() if name not in job["ignore"]})
    if size == 0:
        sys.exit("error: w4a16 needs layers whose width is a multiple of 32; set quantize.scheme to w8a8")
    weights = QuantizationArgs(
        num_bits=4, type="int", symmetric=True, strategy=QuantizationStrategy.GROUP, group_size=size
    )
    scheme = QuantizationScheme(targets=["Linear"], weights=weights)
    rows = tokenizer(job["texts"], truncation=True, max_length=job["max_length"], add_special_tokens=False)
    oneshot(
        model=model,
        tokenizer=tokenizer,
        dataset=Dataset.from_dict({"input_ids": rows["input_ids"], "attention_mask": rows["attention_mask"]}),
        recipe=GPTQModifier(config_groups={"group_0": scheme}, ignore=job["ignore"]),
        num_calibration_samples=len(job["texts"]),
        max_seq_length=job["max_length"],
    )
    model.save_pretrained(job["out"], save_compressed=True)


if __name__ == "__main__":
    quantize(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
