"""Benchmark: one process, two with gloo and FSDP2, and two Ray nodes train the same run; their differences.

    python -m benchmarks.distributed [--steps N] [--method lora|full] [--bf16] [--ways fsdp replicated ray]

The example's base model with random weights learns the example's messages, in steps of as many rows each way.
Differences are those of the logged losses from one process's, step by step. The two nodes are two raylets on this
machine. All share its cores, so that the speeds show what sharding costs here, not what more machines gain.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from driftwheel.settings.load import load_settings
from driftwheel.store.ledger import Ledger
from examples.support.build_base import make_model, make_tokenizer
from examples.support.world import answer, messages, unlabelled_text
from train.dataset import build_dataset
from train.training.curves import read_curves

BATCH_ROWS, MESSAGES = 8, 200
TWO = (
    "num_processes=2",
    f"per_device_train_batch_size={BATCH_ROWS // 2}",
    f"per_device_eval_batch_size={BATCH_ROWS // 2}",
)
WAYS: dict[str, tuple[str, list[str]]] = {
    "fsdp": ("2 gloo, FSDP2", []),
    "replicated": ("2 gloo, replicated", ["fsdp=false"]),
    "ray": ("2 Ray nodes, FSDP2", ["executor=ray"]),
}
BAR = 1e-4


def prepare(home: Path, steps: int) -> Path:
    """Write base, rows, Dataset and settings into an empty folder, and return the settings file."""
    import torch

    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    torch.manual_seed(0)
    tokenizer = make_tokenizer(unlabelled_text(100, 0))
    make_model(tokenizer).save_pretrained(home / "base")
    tokenizer.save_pretrained(home / "base")
    rows = [{"prompt": e.text, "completion": answer(e)} for e in messages(MESSAGES, 0, "steady")]
    (home / "seed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    train = {
        "max_steps": steps,
        "eval_steps": 10,
        "logging_steps": 1,
        "per_device_train_batch_size": BATCH_ROWS,
        "per_device_eval_batch_size": BATCH_ROWS,
        "max_length": 128,
        "early_stopping_patience": 0,
        "learning_rate": 3e-3,
    }
    raw = {
        "project": "distributed",
        "model": {"base": "base"},
        "train": train,
        "parity": {"items": 8},
        "dataset": {"sources": ["seed.jsonl"], "label_field": "intent"},
    }
    path = home / "driftwheel.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    settings = load_settings(path, environ={})
    ledger = Ledger(settings.database_url)
    build_dataset(settings, ledger)
    ledger.close()
    return path


@contextmanager
def two_nodes() -> Iterator[str]:
    """Start a Ray cluster of two nodes on this machine and give its address."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    node = {"num_cpus": 1, "object_store_memory": 80_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    cluster.add_node(**node)
    try:
        yield cluster.address
    finally:
        cluster.shutdown()


def train(config: Path, name: str, overrides: list[str]) -> dict[str, Any]:
    """Run `train finetune` in a process of its own and return its metrics with the curve and the time it took."""
    argv = [sys.executable, "-m", "train", "finetune", "--config", str(config), "--json"]
    argv += [part for override in overrides for part in ("--set", f"train.{override}")]
    started_at = time.monotonic()
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{name}: {done.stderr}")
    run = json.loads(done.stdout.splitlines()[-1])
    curve = [asdict(point) for point in read_curves(Path(run["path"]))]
    return {**run["metrics"], "name": name, "curve": curve, "wall_seconds": time.monotonic() - started_at}


def differences(mine: dict[str, Any], theirs: dict[str, Any], key: str) -> float:
    """Return the largest difference of two curves' losses at the same step."""
    pairs = zip(mine["curve"], theirs["curve"], strict=True)
    return max(abs(float(a[key]) - float(b[key])) for a, b in pairs if a[key] is not None)


def table(results: list[dict[str, Any]], title: str) -> Table:
    """Return one line a way of training."""
    found = Table(
        "way",
        "final loss",
        "largest difference a step",
        "in validation",
        "tokens",
        "tokens/s",
        "peak MB a process",
        "whole command s",
        title=title,
    )
    for r in results:
        losses = [p["loss"] for p in r["curve"] if p["loss"] is not None]
        gaps = [
            f"{differences(r, results[0], key):.1e}" if r is not results[0] else "" for key in ("loss", "eval_loss")
        ]
        found.add_row(
            r["name"],
            f"{losses[-1]:.6f}",
            *gaps,
            f"{r['tokens']:,}",
            f"{r['tokens_per_second']:,.0f}",
            f"{r['peak_memory_bytes'] / 1e6:,.0f}",
            f"{r['wall_seconds']:.0f}",
        )
    return found


def main() -> int:
    """Train each way, print the table, and fail if a float32 curve leaves the bar."""
    parser = argparse.ArgumentParser(description="Several processes and nodes beside one process.")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--method", choices=("lora", "full"), default="lora")
    parser.add_argument("--bf16", action="store_true", help="mixed precision, where sums of shares round differently")
    parser.add_argument("--ways", nargs="+", choices=[*WAYS], default=[*WAYS], help="beside one process (all)")
    parser.add_argument("--home", type=Path, default=Path.cwd() / ".driftwheel" / "distributed")
    arguments = parser.parse_args()
    config = prepare(arguments.home.resolve(), arguments.steps)
    shared = [f"method={arguments.method}", f"bf16={str(arguments.bf16).lower()}"]
    results = [train(config, "1 process", shared)]
    for way in arguments.ways:
        with nullcontext() if way != "ray" else two_nodes() as address:
            cluster = [f"ray_address={address}"] if address else []
            title, overrides = WAYS[way]
            results.append(train(config, title, [*shared, *TWO, *overrides, *cluster]))
    number_type = "bfloat16" if arguments.bf16 else "float32"
    title = f"{arguments.method}, {number_type}, {arguments.steps} steps of {BATCH_ROWS} rows"
    Console(width=130).print(table(results, title))
    worst = max(differences(r, results[0], key) for r in results[1:] for key in ("loss", "eval_loss"))
    print(f"largest difference of any logged loss: {worst:.1e} (bar {BAR:.0e} in float32)")
    return 0 if arguments.bf16 or worst <= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
