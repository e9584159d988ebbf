"""The circle on data that no one here wrote: 77 banking intents, ten of which arrive later as the shift.

    python -m benchmarks.banking77 [--data DIR] [--home DIR]

A small base model is built on the questions' text, fine-tuned on 67 intents, quantized and served; the test
questions are scored through the gateway. Then the ten held-out intents arrive in traffic with corrections, and
the loop closes by itself. No test question is ever corrected. Data: Casanueva et al. 2020, "Efficient Intent
Detection with Dual Sentence Encoders" (CC BY 4.0), read from DIR.
"""

import argparse
import asyncio
import csv
import json
import os
import random
import secrets
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from sklearn.metrics import f1_score

from driftwheel.answers import label_of
from driftwheel.artifacts import is_complete, writing
from driftwheel.command import open_ledger
from driftwheel.config import Settings, load_settings
from driftwheel.errors import EngineError
from driftwheel.records import Alias, DecisionStatus, DriftSignal, ModelVersion, RetrainDecision
from examples.support import demo as steps
from examples.support.claims import print_minutes
from examples.support.load import Client, Reply
from examples.support.prepare import CONFIG, choose_ports
from examples.support.world import Document, Example

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "banking77"
HELD_OUT_INTENTS, SHIFT_SHARE, FEEDBACK_SHARE, STEADY_ROWS = 10, 0.7, 0.9, 600
OVERRIDES: dict[str, dict[str, Any]] = {
    "dataset": {"near_duplicate_similarity": 0.9, "test_share": 0.1, "max_rows_per_user": 5000, "group_column": None},
    "train": {"method": "full", "num_train_epochs": 8, "learning_rate": 1.5e-3, "eval_steps": 150},
    "evaluate": {"max_items": 1500, "baseline_items": 100},
    "serve": {"alias": "banking"},
    "policy": {"min_fresh_labels": 900},
}


def read(path: Path) -> list[Example]:
    """Read a file of questions."""
    with path.open(encoding="utf-8", newline="") as file:
        return [Example(r["text"].strip(), r["category"], "", "steady") for r in csv.DictReader(file)]


def answer(example: Example) -> str:
    """Return the right answer to a question."""
    return json.dumps({"intent": example.intent}, separators=(",", ":"))


def build_base(out: Path, questions: Sequence[Example]) -> None:
    """Build the base on the questions' text and, apart from them, on answers dealt out at random."""
    if is_complete(out):
        return
    import torch

    from examples.support.build_base import make_model, make_tokenizer, pretrain

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
    pretrain(model, tokenizer, documents, seed=0)
    out.parent.mkdir(parents=True, exist_ok=True)
    with writing(out, {"source": "banking77"}) as folder:
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
    right = [r.example.intent for r in replies]
    said = [label_of(r.text, "intent") or "(none)" for r in replies]
    macro = f1_score(right, said, average="macro", labels=sorted(set(right)), zero_division=0)
    failed = sum(r.error is not None for r in replies)
    return (
        f"accuracy {sum(r.is_correct for r in replies) / len(replies):.1%}, macro-F1 {macro:.3f} "
        f"on {len(replies)} questions, {failed} failed"
    )


async def turn(demo: steps.Demo, train: list[Example], test: list[Example], held_out: set[str]) -> None:
    """Score, shift, wait for the circle to close, and score again."""
    client, window_rows = demo.client, demo.settings.monitor.window_rows
    await steps.wait_until_ready(demo)
    with demo.step("score v1 through the gateway"):
        known = await client.send([q for q in test if q.intent not in held_out])
        new = await client.send([q for q in test if q.intent in held_out][: window_rows // 3])
        demo.say(f"67 known intents: {scores(known)}")
        demo.say(f"10 held-out intents (sample): {scores(new)}")
    with demo.step("shift: ten new intents arrive, with corrections"):
        chance = random.Random(1)
        old = [q for q in train if q.intent not in held_out]
        fresh = [q for q in train if q.intent in held_out]
        stream = fresh + chance.sample(old, round(len(fresh) * (1 - SHIFT_SHARE) / SHIFT_SHARE))
        chance.shuffle(stream)
        before = len({s.check_id for s in steps.signals(demo, demo.measured.v1)})
        decision: RetrainDecision | None = None
        while stream and decision is None:
            batch, stream = stream[:window_rows], stream[window_rows:]
            await client.send(batch, feedback_share=FEEDBACK_SHARE, seed=len(stream))
            await asyncio.sleep(8)
            decision = steps.retrain_decision(demo)
        found = steps.alarms(demo, demo.measured.v1)
        demo.say(f"{detection_delay(steps.signals(demo, demo.measured['v1']), found, before)}")
        if decision is None:
            raise EngineError("the policy did not decide to retrain; see `driftwheel status`")
        demo.say("; ".join(decision.reasons))
    with demo.step("retrain, gate, swap"):
        deadline = time.monotonic() + steps.RETRAIN_TIMEOUT_SECONDS
        unfinished = (DecisionStatus.OPEN, DecisionStatus.RUNNING)
        await steps.until(lambda: demo.ledger.get(RetrainDecision, decision.id).status not in unfinished, deadline)
        ended = demo.ledger.get(RetrainDecision, decision.id)
        demo.say(f"{ended.status}: {ended.error or 'a better version is live'}")
    with demo.step("score the live version through the gateway"):
        live = demo.ledger.get(ModelVersion, demo.ledger.get(Alias, demo.settings.serve.alias).version_id)
        demo.say(f"live: v{live.number}, gate: {live.verdict['reason']}")
        replies = await client.send(test)
        demo.say(f"all 77 intents: {scores(replies)}")
        demo.say(f"67 known intents: {scores([r for r in replies if r.example.intent not in held_out])}")
        demo.say(f"10 new intents: {scores([r for r in replies if r.example.intent in held_out])}")
    await client.close()


def detection_delay(signals: list[DriftSignal], alarms: list[DriftSignal], before: int) -> str:
    """Say in which window after the shift the first alarm came."""
    checks = list(dict.fromkeys(s.check_id for s in signals))
    after = [s for s in alarms if checks.index(s.check_id) >= before]
    early = len(alarms) - len(after)
    if not after:
        return f"no alarm in {len(checks) - before} windows; {early} false alarms before"
    window = checks.index(after[0].check_id) + 1 - before
    return f"first alarm ({after[0].kind}) in window {window} after the shift; {early} false alarms before"


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
    settings = prepare(home, [q for q in train if q.intent not in held_out], home / "base")
    os.environ.setdefault(steps.KEYS_VARIABLE, secrets.token_urlsafe(24))
    url = f"http://{settings.serve.host}:{settings.serve.port}"
    client = Client(url, os.environ[steps.KEYS_VARIABLE], settings.serve.alias, answer_of=answer)
    demo = steps.Demo(console, settings, open_ledger(settings), client)
    demo.measured.v1 = steps.first_version(demo).id
    up = subprocess.Popen([sys.executable, "-m", "driftwheel.cli", "up", "--config", str(settings.path)])
    try:
        asyncio.run(turn(demo, train, test, held_out))
    finally:
        up.terminate()
        up.wait()
    print_minutes(console, demo.seconds, demo.retrain_seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
