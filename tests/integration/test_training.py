"""Training as the worker runs it: a verb in a process of its own, killed in the middle, run again."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from driftwheel.records.nouns import TrainingRun, TrainingRunStatus
from driftwheel.settings.load import load_settings
from driftwheel.store.ledger import Ledger
from examples.support.build_base import make_model, make_tokenizer
from examples.support.world import answer, messages, unlabelled_text
from train.dataset import build_dataset
from train.training.checkpoints import CHECKPOINT_MARK
from train.training.curves import read_curves

KILLED = """
import os, pathlib, runpy, signal, sys
mark, touch = sys.argv.pop(1), pathlib.Path.touch

def touch_and_die(path, *options, **named):
    touch(path, *options, **named)
    if (path.parent.name, path.name) == ("checkpoint-8", mark):
        os.kill(os.getpid(), signal.SIGKILL)

pathlib.Path.touch = touch_and_die
runpy.run_module("train", run_name="__main__", alter_sys=True)
"""
"""A training that a power cut ends when its second checkpoint is complete."""


@pytest.fixture
def config_path(tmp_path: Path) -> Path:
    """Settings, an untrained base model and a recorded dataset."""
    base = tmp_path / "base"
    tokenizer = make_tokenizer(unlabelled_text(100, 0))
    make_model(tokenizer).save_pretrained(base)
    tokenizer.save_pretrained(base)
    raw = {
        "project": "support",
        "model": {"base": "base"},
        "dataset": {"sources": ["seed.jsonl"], "label_field": "intent"},
        "train": {
            "max_steps": 24,
            "eval_steps": 4,
            "logging_steps": 1,
            "per_device_train_batch_size": 4,
            "max_length": 128,
            "early_stopping_patience": 0,
        },
    }
    path = tmp_path / "driftwheel.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    rows = [{"prompt": e.text, "completion": answer(e)} for e in messages(120, 0, "steady")]
    (tmp_path / "seed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    settings = load_settings(path, environ={})
    ledger = Ledger(settings.database_url)
    build_dataset(settings, ledger)
    ledger.close()
    return path


def test_a_killed_run_resumes_from_its_last_complete_checkpoint(config_path: Path) -> None:
    verb = ["finetune", "--config", str(config_path), "--json"]
    argv = [sys.executable, "-m", "train", *verb]
    settings = load_settings(config_path, environ={})
    # It kills itself: for whoever looks on from outside it may be at its end already.
    killed_at = [sys.executable, "-c", KILLED, CHECKPOINT_MARK, *verb]
    first = subprocess.run(killed_at, capture_output=True, text=True, timeout=300, check=False)
    assert first.returncode == -signal.SIGKILL, first.stderr

    ledger = Ledger(settings.database_url)
    (killed,) = ledger.find(TrainingRun)
    assert killed.status is TrainingRunStatus.RUNNING
    before = [point for point in read_curves(Path(killed.path)) if point.step <= 8]
    assert before

    second = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)

    assert second.returncode == 0, second.stderr
    printed = json.loads(second.stdout.splitlines()[-1])
    (run,) = ledger.find(TrainingRun)
    ledger.close()
    assert printed["id"] == run.id == killed.id
    assert run.status is TrainingRunStatus.SUCCEEDED
    resumed_from = run.metrics.known()["resumed_from_step"]
    assert resumed_from == 8
    assert f"resumed at step {resumed_from} of 24" in second.stderr
    points = read_curves(Path(run.path))
    assert points[: len(before)] == before
    assert [p.step for p in points if p.loss is not None] == list(range(1, 25))
    tokens = [p.tokens for p in points if p.tokens is not None]
    assert tokens == sorted(tokens)
    assert len(tokens) == len(points)
    assert run.metrics.tokens == tokens[-1] > tokens[len(before)]
    assert run.metrics.steps == 24
