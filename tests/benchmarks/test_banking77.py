"""A short form of benchmarks.banking77: its circle in front of a fake engine, and its base, rows and settings.

The monitor's and the worker's part is played here; tests/loop turns the circle with the real ones.
"""

import asyncio
import csv
import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from benchmarks import banking77
from driftwheel.control import controls
from driftwheel.files import artifacts
from driftwheel.records.nouns import (
    DecisionStatus,
    DecisionVerdict,
    DriftKind,
    DriftSignal,
    DriftVerdict,
    RetrainDecision,
    Traffic,
)
from driftwheel.settings.load import load_settings
from driftwheel.store.ledger import Ledger
from examples.support import build_base
from examples.support.demo_loop import Demo
from examples.support.load import Client
from examples.support.world import Example, messages
from tests.support.fake_world import ALIAS, KEY, World
from train.base_model import identity, load_tokenizer

WINDOW_ROWS, STEADY_WINDOWS = 20, 2
KNOWN, HELD_OUT = "card_lost", "refund"


def examples(count: int, intent: str) -> list[Example]:
    return [Example(f"{intent} question {number}", intent, "", "steady") for number in range(count)]


def signal(world: World, check: int) -> DriftSignal:
    """The monitor's word on a window: the second one of the shift has drifted."""
    is_moving = check > STEADY_WINDOWS
    return DriftSignal(
        id=f"signal_{check}",
        project="support",
        version_id="v1",
        kind=DriftKind.INPUT,
        feature="all",
        method="mmd",
        score=0.9 if is_moving else 0.5,
        threshold=0.6,
        reference_rows=WINDOW_ROWS,
        current_rows=WINDOW_ROWS,
        verdict=DriftVerdict.DRIFTED if is_moving else DriftVerdict.STEADY,
        check_id=f"check_{check}",
    )


def decision() -> RetrainDecision:
    return RetrainDecision(
        id="decision_1",
        project="support",
        verdict=DecisionVerdict.RETRAIN,
        status=DecisionStatus.PROMOTED,
        trigger="policy",
        remedy="retrain",
        reasons=["input drift"],
    )


def watch(world: World, is_over: threading.Event) -> None:
    """Write a signal for each full window of traffic, and a decision that is done once one has drifted."""
    ledger, checks = Ledger(world.settings.database_url), 0
    while not is_over.wait(0.05):
        while checks < len(ledger.find(Traffic, version_id="v1")) // WINDOW_ROWS:
            ledger.add(signal(world, checks))
            if checks == STEADY_WINDOWS + 1:
                ledger.add(decision())
            checks += 1
    ledger.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A version that always gives the known intent, live behind the gateway, and a monitor of small windows."""
    world = World(tmp_path)
    raw = yaml.safe_load(world.config_path.read_text(encoding="utf-8"))
    raw["monitor"] = {"window_rows": WINDOW_ROWS}
    world.config_path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    world.settings = load_settings(world.config_path, environ={})
    version = world.publish("v1", answer=banking77.answer(Example("", KNOWN, "", "steady")))
    world.ledger.change(version, verdict={"reason": "it is the first one"})
    controls.promote(world.ledger, world.settings.alias_key, "v1")
    world.start()
    world.until(world.is_settled)
    is_over = threading.Event()
    watcher = threading.Thread(target=watch, args=(world, is_over))
    watcher.start()
    yield world
    is_over.set()
    watcher.join()
    world.stop()


def test_the_circle_scores_shifts_waits_and_scores_again(world: World) -> None:
    client = Client(world.url, KEY, ALIAS, banking77.TASK)
    printed = io.StringIO()
    demo = Demo(Console(file=printed, width=200), world.settings, world.ledger, client)
    demo.measured.v1 = "v1"
    test = [*examples(6, KNOWN), *examples(4, HELD_OUT)]
    later = [*examples(WINDOW_ROWS * STEADY_WINDOWS, KNOWN), *examples(WINDOW_ROWS * 5, HELD_OUT)]
    asyncio.run(banking77.turn(demo, later, test, {HELD_OUT}))
    said = printed.getvalue()
    assert said.count("all 77 intents: accuracy 60.0%, macro-F1 0.375 on 10 questions, 0 failed") == 2
    assert said.count("10 held-out intents: accuracy 0.0%, macro-F1 0.000 on 4 questions, 0 failed") == 2
    assert "0 alarms in " in said
    assert "first alarm (input) in window " in said
    assert f"{DecisionStatus.PROMOTED}: a better version is live" in said
    assert "live: v1, gate: it is the first one" in said


def test_the_base_learns_from_the_questions_and_the_settings_can_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(banking77, "BASE_STEPS", 2)
    monkeypatch.setitem(build_base.RECIPE, "vocabulary", 300)
    path = tmp_path / "train.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = [(e.text, e.intent) for e in messages(120, 1, "steady")]
        csv.writer(file).writerows([("text", "category"), *rows])
    questions = banking77.read(path)
    banking77.build_base(tmp_path / "base", questions)
    banking77.build_base(tmp_path / "base", questions)
    assert load_tokenizer(str(tmp_path / "base")).chat_template
    settings = banking77.prepare(tmp_path, questions, tmp_path / "base")
    assert identity(settings.base) == artifacts.read_manifest(tmp_path / "base").content_hash
    assert (settings.project, settings.serve.alias, settings.train.method) == ("banking", "banking", "full")
    assert len((tmp_path / "seed.jsonl").read_text(encoding="utf-8").splitlines()) == len(questions)
