"""The benchmarks that need a trained model and vLLM: short forms of benchmarks.parity and benchmarks.quantization."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from examples.support.world import answer, messages

ROOT = Path(__file__).resolve().parents[2]


def run(*argv: str) -> str:
    """Run a module as a person does and return what it prints."""
    command = [sys.executable, "-m", *argv]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=550)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Path) -> Path:
    """Settings of a model that was trained for a few steps."""
    folder = tmp_path_factory.mktemp("trained")
    rows = [{"prompt": e.text, "completion": answer(e)} for e in messages(150, 0, "steady")]
    (folder / "seed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    raw = {
        "project": "support",
        "model": {"base": str(tiny_model_dir)},
        "dataset": {"sources": ["seed.jsonl"], "label_field": "intent", "test_share": 0.2},
        "train": {"max_steps": 4, "eval_steps": 4, "max_length": 128, "bf16": False},
        # A model that has learned nothing gives all words nearly the same chance: rounding would choose its answers.
        "merge": {"dtype": "float32"},
        "parity": {"items": 8},
        "evaluate": {"max_tokens": 8},
        "quantize": {"scheme": "none"},
        "serve": {"alias": "support", "kv_cache_gib": 1, "max_model_len": 512, "enforce_eager": True},
    }
    path = folder / "driftwheel.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    for verb in (["data", "build"], ["finetune"]):
        run("train", *verb, "--config", str(path))
    return path


def test_parity_prints_the_table_of_a_model_and_builds_it_again(trained: Path) -> None:
    printed = run("benchmarks.parity", "--config", str(trained), "--builds", "1", "--no-faults")
    assert re.search(r"noise floor, merged, read in other batches: \d+\.\d\d% against", printed), printed
    assert re.search(r"noise floor, served, asked again: \d+\.\d\d% against", printed), printed
    assert re.search(r"bar: merged at least 99\.5%: met", printed), printed
    assert "0 of 1 clean builds refused" in printed


def test_quantization_prints_a_row_for_each_scheme(trained: Path) -> None:
    options = ["--schemes", "none", "--rounds", "1", "--items", "8"]
    printed = run("benchmarks.quantization", "example", "--config", str(trained), *options)
    assert re.search(r"none: [1-9]\d* \(.*\) tokens a second in one stream, [1-9]\d* ", printed), printed
    assert re.search(r"│ none +│ +\d+\.\d\d │ +\d+\.\d% \[", printed), printed
