"""Measures the matrix products that a training step needs at least, for a model's shape and a batch's tokens.

    python -m benchmarks.matrix_products --home DIR

For each frozen linear layer the product forward and the one for its input's gradient, for each adapter its two products
forward and four backward, and the output layer's two on the completions' tokens alone. In bfloat16, without padding,
attention, norms, copies or an optimizer.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.contestant import cpu_seconds
from train.processes.process_tuning import tune_process

RANK = 16


def measure(home: Path) -> dict[str, Any]:
    """Run the products of as many steps as the contestants take, and return their cost."""
    tune_process()
    import torch
    from torch.nn.functional import linear

    facts = json.loads((home / "facts.json").read_text(encoding="utf-8"))
    config = json.loads((home / "base" / "config.json").read_text(encoding="utf-8"))
    width, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    shapes = [(queries, width), (keys, width), (keys, width), (width, queries), (inner, width), (inner, width)]
    layers = [
        [torch.randn(shape, dtype=torch.bfloat16) for shape in [*shapes, (width, inner)]]
        for _ in range(config["num_hidden_layers"])
    ]
    outputs = torch.randn(config["vocab_size"], width, dtype=torch.bfloat16)
    tokens, steps = facts["batch_tokens"], facts["steps"]
    wide = {size: torch.randn(tokens, size, dtype=torch.bfloat16) for size in (queries, keys, width, inner)}
    low = torch.randn(tokens, RANK, dtype=torch.bfloat16)
    narrow = {size: torch.randn(RANK, size, dtype=torch.bfloat16) for size in wide}
    answers = torch.randn(facts["batch_completion_tokens"], width, dtype=torch.bfloat16)

    def step() -> None:
        for layer in layers:
            for weight in layer:
                result = linear(wide[weight.shape[1]], weight)
                wide[weight.shape[1]] @ narrow[weight.shape[1]].t()
                result.addmm_(low, narrow[weight.shape[0]])
        linear(answers, outputs) @ outputs
        for layer in reversed(layers):
            for weight in layer:
                grad, x = wide[weight.shape[0]], wide[weight.shape[1]]
                grad @ narrow[weight.shape[0]].t()
                (grad @ weight).addmm_(low, narrow[weight.shape[1]])
                low.t() @ x
                low.t() @ grad

    cpu_before, began_at = cpu_seconds(), time.monotonic()
    for _ in range(steps):
        step()
    return {
        "name": "products",
        "tokens": tokens * steps,
        "cost_seconds": cpu_seconds() - cpu_before,
        "wall_seconds": time.monotonic() - began_at,
    }


def main() -> int:
    """Print the cost as one JSON line."""
    parser = argparse.ArgumentParser(description="The matrix products of the training benchmark alone.")
    parser.add_argument("--home", type=Path, required=True)
    print(json.dumps(measure(parser.parse_args().home)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
