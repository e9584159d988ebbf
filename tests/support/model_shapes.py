"""Random models of a few thousand parameters in the shapes of known families, for whatever must work with each."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIZE = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 256,
}
GROUPED = {**SIZE, "num_key_value_heads": 1}
WIDE = {**GROUPED, "head_dim": 16}
GPT_2 = {"vocab_size": 320, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 256}


def _configs() -> Any:
    import transformers

    return transformers


SHAPES: dict[str, Callable[[], Any]] = {
    "llama, tied": lambda: _configs().LlamaConfig(**WIDE, tie_word_embeddings=True),
    "llama, untied, biases": lambda: _configs().LlamaConfig(
        **WIDE, tie_word_embeddings=False, attention_bias=True, mlp_bias=True
    ),
    "qwen2, tied, biases": lambda: _configs().Qwen2Config(**GROUPED, tie_word_embeddings=True),
    "qwen3, untied": lambda: _configs().Qwen3Config(**WIDE, tie_word_embeddings=False),
    "gemma": lambda: _configs().GemmaConfig(**WIDE),
    "gemma2, soft caps": lambda: _configs().Gemma2Config(**WIDE),
    "gemma3, windows": lambda: _configs().Gemma3TextConfig(**WIDE),
    "phi, biases": lambda: _configs().PhiConfig(**SIZE),
    "phi3, joined layers": lambda: _configs().Phi3Config(**GROUPED),
    "gpt-neox": lambda: _configs().GPTNeoXConfig(**SIZE),
    "gpt-2, Conv1D": lambda: _configs().GPT2Config(**GPT_2),
    "smollm2": lambda: _configs().LlamaConfig(
        **{**SIZE, "hidden_size": 36, "num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 4},
        tie_word_embeddings=True,
    ),
}
"""Each family's configuration: tied and untied embeddings, biases, joined layers, and layers that lie the other way."""
WITHOUT_LINEAR_LAYERS = ("gpt-2, Conv1D",)


def build_shape(folder: Path, shape: str, tokenizer: Any) -> Path:
    """Write a random model of a shape with a tokenizer; the same one each time."""
    import torch
    from transformers import AutoModelForCausalLM

    config = SHAPES[shape]()
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(config, key, getattr(tokenizer, key))  # a family's own are of its own, larger vocabulary
    torch.manual_seed(0)
    with warnings.catch_warnings():
        # Phi's rotary part of so small a head is narrow, of which transformers warns.
        warnings.simplefilter("ignore")
        model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
