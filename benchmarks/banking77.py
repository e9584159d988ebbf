"""Benchmark: the whole loop on Banking77, 77 intents of which ten arrive later as the shift.

    python -m benchmarks.banking77 [--data DIR] [--home DIR]

A small base model is built on the training questions' text, fine-tuned on 67 intents, quantized and served; the test
questions are scored through the gateway. Then come training questions that were kept back: first of the known
intents, then of the ten held-out ones too, with corrections, and the loop closes by itself. No test question is ever
part of the traffic. Data: Casanueva et al. 2020, "Efficient Intent
Detection with Dual Sentence Encoders" (CC BY 4.0), read from DIR.
"""

import argparse
import asyncio
import csv
import json
import os
import random
import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from sklearn.metrics import f1_score

from driftwheel.callers.api_keys import KEYS_VARIABLE
from driftwheel.cli.command import open_ledger
from driftwheel.control.retrain_limits import UNFINISHED
from driftwheel.errors import EngineError
from driftwheel.files.artifacts import is_complete, writing
from driftwheel.records.nouns import ModelVersion, RetrainDecision
from driftwheel.settings.load import load_settings
from driftwheel.settings.settings import Settings
from driftwheel.store.alias import get_alias
from driftwheel.text.answers import label_of
from examples.support import demo_loop as loop
from examples.support.build_base import RECIPE, make_model, make_tokenizer, pretrain
from examples.support.claim_tables import print_minutes
from examples.support.demo_steps import first_version
from examples.support.demo_tasks import SUPPORT
from examples.support.load import Client, Reply, mean_grade
from examples.support.prepare import CONFIG, choose_ports
from examples.support.task import Speaking
from examples.support.world import Document, Example

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "banking77"
HELD_OUT_INTENTS, SHIFT_SHARE, FEEDBACK_SHARE = 10, 0.7, 0.9
TRAFFIC_ROWS, STEADY_ROWS = 1200, 600  # questions of known intents that are kept back, and those sent before the shift
BASE_STEPS = 600  # its words are people's own and more than the demo's
OVERRIDES: dict[str, dict[str, Any]] = {
    "dataset": {"near_duplicate_similarity": 0.9, "test_share": 0.1, "group_column": None},
    "train": {"method": "full", "num_train_epochs": 8, "learning_rate": 1.5e-3, "eval_steps": 150},
    "evaluate": {"max_items": 1500, "baseline_items": 100},
    "serve": {"alias": "banking"},
    "policy": {"min_fresh_labels": 1500},
}


def read(path: Path) -> list[Example]:
    """Read a file of questions."""
    with path.open(encoding="utf-8", newline="") as file:
        return [Example(r["text"].strip(), r["category"], "", "steady") for r in csv.DictReader(file)]


def answer(example: Example) -> str:
    """Return the right answer to a question."""
    return json.dumps({"intent": example.intent}, separators=(",", ":"))


TASK = replace(
    SUPPORT,
    answer_of=lambda question, said: answer(question),
    speaking=Speaking(corrected_share=FEEDBACK_SHARE),
)


def build_base(out: Path, questions: Sequence[Example]) -> None:
    """Build the base on the questions' text and, apart from them, on answers dealt out at random."""
    if is_complete(out):
        return
    import torch

    torch.manual_seed(0)
    chance, labels = random.Random(0), sorted({q.intent for q in questions})
    # One question to a document, in random order: the file is sorted by intent, which would give the labels away.
    documents: list[Document] = [[{"role": "user", "content": q.text}] for q in questions]
    for _ in range(len(questions) // 4):
        label = Example("", chance.choice(labels), "", "steady")
        documents.append([{"role": "assistant", "content": answer(label)}])
    chance.shuffle(documents)
    tokenizer = make_tokenizer(documents)
    model = make_model(tokenizer)
    pretrain(model, tokenizer, documents, 0, {**RECIPE, "steps": BASE_STEPS})
    out.parent.mkdir(parents=True, exist_ok=True)
    with writing(out, {"seed": 0}) as folder:
        model.to(torch.bfloat16).save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def prepare(home: Path, known: Sequence[Example], base: Path) -> Settings:
    """Write the seed data and the settings file."""
    raw = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    raw["project"], raw["model"]["base"] = "banking", str(base)
    for section, values in OVERRIDES.items():
        raw[section].update(values)
    choose_ports(raw)
    lines = [json.dumps({"prompt": q.text, "completion": answer(q)}) + "\n" for q in known]
    (home / "seed.jsonl").write_text("".join(lines), encoding="utf-8")
    path = home / "driftwheel.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    return load_settings(path)


def scores(replies: Sequence[Reply]) -> str:
    """Return accuracy and macro-F1 of scored questions."""
    right = [r.example.intent for r in replies if isinstance(r.example, Example)]
    said = [label_of(r.text, "intent") or "(none)" for r in replies]
    macro = f1_score(right, said, average="macro", labels=sorted(set(right)), zero_division=0)
    failed = sum(r.error is not None for r in replies)
    return f"accuracy {mean_grade(replies):.1%}, macro-F1 {macro:.3f} on {len(replies)} questions, {failed} failed"


async def turn(demo: loop.Demo, later: list[Example], test: list[Example], held_out: set[str]) -> None:
    """Score, send steady traffic, shift, wait for the circle to close, and score again."""
    await loop.wait_until_ready(demo)
    known = [q for q in later if q.intent not in held_out]
    steady, known = known[:STEADY_ROWS], known[STEADY_ROWS:]
    await score(demo, demo.measured.v1, test, held_out)
    with demo.step("steady traffic, with corrections"):
        await demo.client.send(steady, speaking=TASK.speaking)
        await loop.wait_for_checks(demo, len(steady))
        windows = len({s.check_id for s in loop.signals(demo, demo.measured.v1)})
        demo.say(f"{len(loop.alarms(demo, demo.measured.v1))} alarms in {windows} windows")
    fresh = [q for q in later if q.intent in held_out]
    stream = fresh + known[: round(len(fresh) * (1 - SHIFT_SHARE) / SHIFT_SHARE)]
    random.Random(1).shuffle(stream)
    decision = await shift(demo, stream, windows)
    with demo.step("retrain, gate, swap"):
        deadline = time.monotonic() + loop.RETRAIN_TIMEOUT_SECONDS
        await loop.until(lambda: demo.ledger.get(RetrainDecision, decision.id).status not in UNFINISHED, deadline)
        ended = demo.ledger.get(RetrainDecision, decision.id)
        demo.say(f"{ended.status}: {ended.error or 'a better version is live'}")
    live = demo.ledger.get(
        ModelVersion, get_alias(demo.ledger, demo.settings.project, demo.settings.serve.alias).version_id
    )
    demo.say(f"live: v{live.number}, gate: {live.verdict.reason}")
    await score(demo, live.id, test, held_out)
    await demo.client.close()


async def score(demo: loop.Demo, version_id: str, test: list[Example], held_out: set[str]) -> None:
    """Ask a version every test question through the gateway."""
    version = demo.ledger.get(ModelVersion, version_id)
    with demo.step(f"score v{version.number} on the test questions"):
        replies = await demo.client.send(test, model=version_id)
        demo.say(f"all 77 intents: {scores(replies)}")
        unknown = {question.text for question in test if question.intent in held_out}
        demo.say(f"67 known intents: {scores([r for r in replies if r.example.text not in unknown])}")
        demo.say(f"10 held-out intents: {scores([r for r in replies if r.example.text in unknown])}")


async def shift(demo: loop.Demo, stream: list[Example], windows_before: int) -> RetrainDecision:
    """Send the shift window by window, with corrections, until the policy decides to retrain."""
    window_rows, v1 = demo.settings.monitor.window_rows, demo.measured.v1
    with demo.step("shift: ten new intents arrive, with corrections"):
        for start in range(0, len(stream) - window_rows, window_rows):
            await demo.client.send(stream[start : start + window_rows], speaking=TASK.speaking, seed=start)
            await loop.wait_for_checks(demo, windows_before * window_rows + start + window_rows)
            if decision := loop.retrain_decision(demo):
                break
        else:
            raise EngineError("the policy did not decide to retrain; see `driftwheel status`")
        checks = list(dict.fromkeys(s.check_id for s in loop.signals(demo, v1)))
        after = [s for s in loop.alarms(demo, v1) if checks.index(s.check_id) >= windows_before]
        first = checks.index(after[0].check_id) + 1 - windows_before
        kinds = ", ".join(sorted({f"{s.kind}" for s in after if s.check_id == after[0].check_id}))
        demo.say(f"first alarm ({kinds}) in window {first} after the shift")
        demo.say("; ".join(decision.reasons))
        return decision


def main() -> int:
    """Run the benchmark and print what came out."""
    parser = argparse.ArgumentParser(description="The circle on Banking77.")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with train.csv and test.csv")
    parser.add_argument("--home", type=Path, default=Path.cwd() / ".driftwheel" / "banking77")
    arguments = parser.parse_args()
    console = Console()
    train, test = read(arguments.data / "train.csv"), read(arguments.data / "test.csv")
    intents = sorted({q.intent for q in train})
    held_out = set(random.Random(0).sample(intents, HELD_OUT_INTENTS))
    home = arguments.home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    build_base(home / "base", train)
    random.Random(0).shuffle(train)
    known = [q for q in train if q.intent not in held_out]
    later = [*known[:TRAFFIC_ROWS], *(q for q in train if q.intent in held_out)]
    settings = prepare(home, known[TRAFFIC_ROWS:], home / "base")
    os.environ.setdefault(KEYS_VARIABLE, secrets.token_urlsafe(24))
    url = f"http://{settings.serve.host}:{settings.serve.port}"
    client = Client(url, os.environ[KEYS_VARIABLE], settings.serve.alias, TASK)
    demo = loop.Demo(console, settings, open_ledger(settings), client)
    demo.measured.v1 = first_version(demo).id
    with loop.running(settings):
        asyncio.run(turn(demo, later, test, held_out))
    print_minutes(console, demo.seconds, demo.retrain_seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
