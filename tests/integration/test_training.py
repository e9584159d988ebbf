"""Training as the worker runs it: a verb in a process of its own, killed in the middle, run again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from driftwheel.records import TrainingRun, TrainingRunStatus
from driftwheel.settings.load import load_settings
from driftwheel.store.ledger import Ledger
from examples.support.build_base import make_model, make_tokenizer
from examples.support.world import answer, messages, unlabelled_text
from train.dataset import build_dataset
from train.training.checkpoints import CHECKPOINT_MARK
from train.training.curves import read_curves


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
    argv = [sys.executable, "-m", "train", "finetune", "--config", str(config_path), "--json"]
    settings = load_settings(config_path, environ={})
    runs = settings.root / "runs"
    first = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    deadline = time.monotonic() + 240
    while not list(runs.glob(f"*/checkpoints/checkpoint-4/{CHECKPOINT_MARK}")):
        assert first.poll() is None, first.stderr.read().decode() if first.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()

    ledger = Ledger(settings.database_url)
    (killed,) = ledger.find(TrainingRun)
    assert killed.status is TrainingRunStatus.RUNNING
    before = [point for point in read_curves(Path(killed.path)) if point.step <= 4]
    assert before

    second = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)

    assert second.returncode == 0, second.stderr
    printed = json.loads(second.stdout.splitlines()[-1])
    (run,) = ledger.find(TrainingRun)
    ledger.close()
    assert printed["id"] == run.id == killed.id
    assert run.status is TrainingRunStatus.SUCCEEDED
    resumed_from = run.metrics.known()["resumed_from_step"]
    assert 4 <= resumed_from < 24
    assert f"resumed at step {resumed_from} of 24" in second.stderr
    points = read_curves(Path(run.path))
    assert points[: len(before)] == before
    assert [p.step for p in points if p.loss is not None] == list(range(1, 25))
    tokens = [p.tokens for p in points if p.tokens is not None]
    assert tokens == sorted(tokens)
    assert len(tokens) == len(points)
    assert run.metrics.tokens == tokens[-1] > tokens[len(before)]
    assert run.metrics.steps == 24
