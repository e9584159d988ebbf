"""Two processes with gloo, and two nodes of a Ray cluster, against one process: the same curve, the same adapter."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from driftwheel.settings.load import load_settings
from driftwheel.store.ledger import Ledger
from examples.support.build_base import make_model, make_tokenizer
from examples.support.world import answer, messages, unlabelled_text
from train.dataset import build_dataset
from train.fidelity.trained import READINGS
from train.training.curves import read_curves

TWO = ("num_processes=2", "per_device_train_batch_size=4", "per_device_eval_batch_size=4")
STEPS = 6


@pytest.fixture(scope="module")
def config_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings for steps of 8 rows in float32, an untrained base, and rows that leave a last batch of an odd number."""
    import torch

    folder = tmp_path_factory.mktemp("together")
    torch.manual_seed(0)
    tokenizer = make_tokenizer(unlabelled_text(100, 0))
    make_model(tokenizer).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    raw = {
        "project": "support",
        "model": {"base": "base"},
        "dataset": {"sources": ["seed.jsonl"], "label_field": "intent"},
        "train": {
            "max_steps": STEPS,
            "eval_steps": 3,
            "logging_steps": 1,
            "per_device_train_batch_size": 8,
            "per_device_eval_batch_size": 8,
            "max_length": 128,
            "early_stopping_patience": 0,
            "bf16": False,
            "learning_rate": 1e-2,
            # Rows of one length: with padding that differs by process the sums differ in their last digits already.
            "train_sampling_strategy": "group_by_length",
        },
        "parity": {"items": 8},
    }
    path = folder / "driftwheel.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    rows = [{"prompt": e.text, "completion": answer(e)} for e in messages(55, 0, "steady")]
    (folder / "seed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    settings = load_settings(path, environ={})
    ledger = Ledger(settings.database_url)
    dataset = build_dataset(settings, ledger)
    ledger.close()
    assert dataset.train_rows % 8 % 2 == 1
    assert dataset.train_rows < 8 * STEPS
    return path


def finetune(config_path: Path, *overrides: str) -> dict[str, Any]:
    """Run the verb as a person or the worker does, and return the run that it prints."""
    argv = [sys.executable, "-m", "train", "finetune", "--config", str(config_path), "--json"]
    for override in overrides:
        argv += ["--set", f"train.{override}"]
    # Sums over two threads differ from those over one by a last digit, which Adam makes a step of where a gradient is
    # next to nothing; launchers give each of several processes one thread.
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=500, check=False, env=one_thread)
    assert done.returncode == 0, done.stderr
    run: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return run


@pytest.fixture(scope="module")
def alone(config_path: Path) -> dict[str, Any]:
    """The run of one process."""
    return finetune(config_path)


@pytest.fixture(scope="module")
def ray_address() -> Iterator[str]:
    """Address of a Ray cluster of two nodes on this machine, each with one CPU."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    node = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
    try:
        yield cluster.address
    finally:
        cluster.shutdown()


def assert_same(mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    from safetensors.torch import load_file

    curves = [read_curves(Path(run["path"])) for run in (mine, theirs)]
    assert [p.step for p in curves[0]] == [p.step for p in curves[1]]
    assert len(curves[1]) == STEPS + 2
    for point, expected in zip(*curves, strict=True):
        assert point.loss == pytest.approx(expected.loss, abs=1e-4)
        assert point.eval_loss == pytest.approx(expected.eval_loss, abs=1e-4)
        # A process whose share of a batch has no row reads one token that is not learned.
        assert expected.tokens <= point.tokens <= expected.tokens + point.step
    weights = [load_file(Path(run["path"]) / "adapter" / "adapter_model.safetensors") for run in (mine, theirs)]
    assert weights[0].keys() == weights[1].keys()
    apart = max(float((weights[0][name] - tensor).abs().max()) for name, tensor in weights[1].items())
    assert apart <= 1e-4
    kept = [json.loads((Path(run["path"]) / "adapter" / READINGS).read_text("utf-8")) for run in (mine, theirs)]
    assert [r["answer_ids"] for r in kept[0]["readings"]] == [r["answer_ids"] for r in kept[1]["readings"]]


def test_two_processes_train_as_one(config_path: Path, alone: dict[str, Any]) -> None:
    together = finetune(config_path, *TWO)
    assert_same(together, alone)
    assert together["metrics"]["trainable_parameters"] == alone["metrics"]["trainable_parameters"]


def test_two_nodes_of_a_ray_cluster_train_as_one(config_path: Path, alone: dict[str, Any], ray_address: str) -> None:
    assert_same(finetune(config_path, *TWO, "executor=ray", f"ray_address={ray_address}"), alone)
