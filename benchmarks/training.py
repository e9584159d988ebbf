"""Plain TRL and driftwheel fine-tune the same model on the same rows, in turns, and become one table of costs.

    python -m benchmarks.training [--model-size SIZE] [--pairs N]
"""

import argparse
import csv
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.banking77 import DATA, answer, read
from examples.support.world import Example

SHAPES: dict[str, dict[str, int]] = {
    "30m": dict(hidden_size=512, intermediate_size=1536, num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=4, head_dim=64, vocab_size=8192),
    "135m": dict(hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3, head_dim=64, vocab_size=49152),
}


def build_base(folder: Path, size: str, texts: list[str]) -> None:
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM
    from examples.support import build_base as support
    torch.manual_seed(0)
    support.RECIPE = {**support.RECIPE, "vocabulary": 4096}
    tok = support.make_tokenizer([[{"role": "user", "content": t}] for t in texts])
    c = Qwen3Config(**SHAPES[size], max_position_embeddings=2048, tie_word_embeddings=True, eos_token_id=tok.eos_token_id, pad_token_id=tok.pad_token_id, bos_token_id=None)
    m = Qwen3ForCausalLM(c).to(torch.bfloat16)
    m.save_pretrained(folder); tok.save_pretrained(folder)
    print(size, sum(p.numel() for p in m.parameters())/1e6, "M parameters", file=sys.stderr)


def prepare(home: Path, size: str, rows: int, held: int = 64) -> None:
    qs = read(DATA / "train.csv")
    random.Random(0).shuffle(qs)
    (home / "dataset").mkdir(parents=True, exist_ok=True)
    def line(q: Example) -> str:
        return json.dumps({"prompt": [{"role": "user", "content": q.text}], "completion": [{"role": "assistant", "content": answer(q)}]}) + "\n"
    for name, part in (("train", qs[:rows]), ("held_out", qs[-held:]), ("validation", qs[-held - 16:-held])):
        (home / "dataset" / f"{name}.jsonl").write_text("".join(map(line, part)))
    if not (home / "base").exists():
        build_base(home / "base", size, [t for q in qs for t in (q.text, answer(q))])


if __name__ == "__main__":
    home, size, rows = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    prepare(home, size, rows)
