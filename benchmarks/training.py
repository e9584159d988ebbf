"""Benchmark: plain TRL and driftwheel fine-tune the same model on the same rows, in turns; what each costs.

    python -m benchmarks.training [--model-size 30m|135m] [--rows N] [--rounds N] [--only NAME ...] [--data DIR]

A Qwen3 with random weights and a tokenizer trained on Banking77's text learns Banking77's intents through LoRA, each
row seen once. The contestants run one after the other in processes of their own, each second round backwards, so that
what else the machine does falls on all of them. Plain TRL runs with its defaults in the environment as it is, then with
OpenMP's threads asleep while they wait, and tuned with tcmalloc too; driftwheel runs as `driftwheel train` does it.
"products" is no training: it is the same matrix products alone, which nothing that computes them can beat (without a
GPU only). With a GPU the cost is seconds by the clock, else CPU seconds.
Data: Casanueva et al. 2020 (CC BY 4.0).
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Sequence
from ctypes.util import find_library
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.banking77 import DATA, answer, read
from benchmarks.contestant import BATCH_ROWS, OURS, PEERS
from driftwheel.files.artifacts import is_complete, writing
from examples.support.world import Document, Example

HELD_OUT_ROWS = 64
PRODUCTS = "products"
SHAPES: dict[str, dict[str, int]] = {
    "1m": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "vocab_size": 2048,
    },
    "30m": {
        "hidden_size": 512,
        "intermediate_size": 1536,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 64,
        "vocab_size": 8192,
    },
    "135m": {
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "head_dim": 64,
        "vocab_size": 49152,
    },
}
"""Qwen3 models by size; 135m has the shape of SmolLM2-135M, and 1m is for trying this file out."""


def build_base(folder: Path, size: str, questions: list[Example]) -> None:
    """Write an untrained Qwen3 in bfloat16, with a tokenizer trained on the questions and answers."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from examples.support.build_base import make_tokenizer

    documents: list[Document] = [
        [{"role": "user", "content": q.text}, {"role": "assistant", "content": answer(q)}] for q in questions
    ]
    tokenizer = make_tokenizer(documents)
    torch.manual_seed(0)
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    config = Qwen3Config(**SHAPES[size], **ids, max_position_embeddings=2048, tie_word_embeddings=True)
    with writing(folder, {"size": size}) as aside:
        Qwen3ForCausalLM(config).to(torch.bfloat16).save_pretrained(aside)
        tokenizer.save_pretrained(aside)


def prepare(home: Path, size: str, rows: int, data: Path) -> None:
    """Write base, training rows, held-out rows and what the contestants must agree on."""
    questions = read(data / "train.csv")
    random.Random(0).shuffle(questions)
    base = home / "base"
    base.parent.mkdir(parents=True, exist_ok=True)
    if not is_complete(base):
        build_base(base, size, questions)
    (home / "dataset").mkdir(exist_ok=True)
    parts = {"train": questions[:rows], "validation": [], "held_out": questions[-HELD_OUT_ROWS:]}
    for name, part in parts.items():
        text = "".join(json.dumps(row) + "\n" for row in rows_of(name, part))
        (home / "dataset" / f"{name}.jsonl").write_text(text, encoding="utf-8")
    from train.base_model import load_tokenizer

    tokenizer = load_tokenizer(str(base))
    lengths = [
        (len(tokenizer.apply_chat_template(r["prompt"], add_generation_prompt=True, return_dict=False)), len(tokens))
        for r in map(_row, parts["train"])
        for tokens in [tokenizer.apply_chat_template(r["prompt"] + r["completion"], return_dict=False)]
    ]
    facts = {
        "batch_tokens": sum(whole for _, whole in lengths) * BATCH_ROWS // rows,
        "batch_completion_tokens": sum(whole - prompt for prompt, whole in lengths) * BATCH_ROWS // rows,
        "steps": rows // BATCH_ROWS,
    }
    (home / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def rows_of(split: str, questions: Sequence[Example]) -> list[dict[str, Any]]:
    """Return questions as the rows of a Dataset's split."""
    numbered = ((f"{split}-{number}", question) for number, question in enumerate(questions))
    return [_row(question) | {"id": id, "label": question.intent, "group": id} for id, question in numbered]


def _row(question: Example) -> dict[str, Any]:
    return {
        "prompt": [{"role": "user", "content": question.text}],
        "completion": [{"role": "assistant", "content": answer(question)}],
    }


def run(name: str, home: Path) -> dict[str, Any]:
    """Run a contestant in a process of its own and return its figures."""
    environment = dict(os.environ)
    if name.startswith("trl-"):
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
    if name in ("trl-grouped", "trl-packed") and (library := find_library("tcmalloc_minimal")):
        environment["LD_PRELOAD"] = library
    module = "benchmarks.matrix_products" if name == PRODUCTS else "benchmarks.contestant"
    command = [sys.executable, "-m", module, *([] if name == PRODUCTS else [name]), "--home", str(home)]
    with (home / f"{name}.log").open("w") as log:
        output = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True, check=True)
    figures: dict[str, Any] = json.loads(output.stdout.splitlines()[-1])
    return figures


def table(results: list[dict[str, Any]], names: list[str]) -> Table:
    """Return one line a contestant: medians, lowest and highest over the rounds."""
    import torch

    second = "second" if torch.cuda.is_available() else "CPU second"
    found = Table(
        "contestant",
        f"tokens per {second}",
        "of it TRL's",
        "tokens a second",
        "peak GB",
        "held-out loss",
        "set-up s",
        title="useful tokens: prompt and completion, no padding",
    )
    rates = {n: [r["tokens"] / r["cost_seconds"] for r in results if r["name"] == n] for n in names}
    first = statistics.median(rates[names[0]])
    for name in names:
        mine = [r for r in results if r["name"] == name]
        rate, wall = statistics.median(rates[name]), statistics.median(r["tokens"] / r["wall_seconds"] for r in mine)
        spread = f"{rate:,.0f} ({min(rates[name]):,.0f} to {max(rates[name]):,.0f})"
        rest = ["", "", ""]
        if name != PRODUCTS:
            rest = [
                f"{max(r['peak_bytes'] for r in mine) / 1e9:.2f}",
                f"{mine[0]['held_out_loss']:.4f}",
                f"{statistics.median(r['set_up_seconds'] for r in mine):.0f}",
            ]
        found.add_row(name, spread, f"{rate / first:.2f}", f"{wall:,.0f}", *rest)
    return found


def main() -> int:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description="Speed of fine-tuning beside plain TRL.")
    parser.add_argument("--model-size", choices=SHAPES, default="30m")
    parser.add_argument("--rows", type=int, default=128, help="training rows, each seen once")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=[*PEERS, OURS, PRODUCTS], help="these contestants (all)")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with train.csv")
    parser.add_argument("--home", type=Path, default=Path.cwd() / ".driftwheel" / "training")
    arguments = parser.parse_args()
    home = (arguments.home / arguments.model_size).resolve()
    prepare(home, arguments.model_size, arguments.rows, arguments.data)
    import torch

    names, results, console = arguments.only or [*PEERS, OURS, PRODUCTS], [], Console(width=120)
    if torch.cuda.is_available():
        names = [name for name in names if name != PRODUCTS]
    for round_number in range(arguments.rounds):
        for name in names if round_number % 2 == 0 else reversed(names):
            results.append(figures := run(name, home))
            rate = figures["tokens"] / figures["cost_seconds"]
            console.print(f"round {round_number + 1}: {name} {rate:,.0f} tokens a second of cost", highlight=False)
    console.print(table(results, names))
    return 0


if __name__ == "__main__":
    sys.exit(main())
