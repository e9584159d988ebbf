"""What users write does nothing where it is shown: on a terminal, in JSON, in tables, model cards and logs."""

import json
import re
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from rich.console import Console

from driftwheel.cli import process
from driftwheel.cli.main import main
from driftwheel.cli.process import run_command
from driftwheel.cli.verify import _print
from driftwheel.errors import DataError
from driftwheel.inert_text import inert, inert_cell, inert_json, inert_lines
from driftwheel.records.by_whom import Action, Cause
from driftwheel.records.gate_verdict import GateVerdict
from driftwheel.records.nouns import (
    Dataset,
    DecisionStatus,
    DecisionVerdict,
    ModelVersion,
    RetrainDecision,
    TrainingRun,
)
from driftwheel.settings.settings import Settings
from driftwheel.store.events import note
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.export import export_traffic
from driftwheel.traffic.feedback import give_feedback, person
from driftwheel.upkeep.verifying import Fault, Verified
from tests.support.whole_loop import add_version, request_row
from train.data.checking.check_tables import _say
from train.data.examples import Example
from train.verbs.data import show
from train.verdict.model_card import model_card

STEERING = "\x1b]0;owned\x07\x1b[2J\x1b[1A\x9b31m\x08\r\x7f\u202ecod.exe\u2066\u200f\u2028"
MARKUP = "<img src=x onerror=alert(1)> [click](javascript:alert(1)) ![y](http://evil/y.png) | `x` <script>"
FORMULA = "=cmd|' /C calc'!A0"
HOSTILE = f"{FORMULA} {STEERING} {MARKUP}\nstatus  live"
BAD = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Whatever steers a terminal, but for the end of a line."""


def assert_inert(told: str) -> None:
    assert told
    assert "onerror" in told or "owned" in told  # it is shown
    assert BAD.findall(told) == []
    assert "\nstatus  live" not in told


@pytest.fixture
def loop(settings: Settings) -> Ledger:
    """A loop in which every text that can come from outside is hostile."""
    ledger = Ledger(settings.database_url, root=settings.root)
    version = add_version(ledger, settings)
    texts = {"prompt": HOSTILE, "answer": HOSTILE, "user_id": HOSTILE, "error": HOSTILE, "request": HOSTILE}
    ledger.add(request_row(version.id, 1, **texts))
    give_feedback(
        settings.traffic, ledger, "support", "req_00001", author=person(HOSTILE), label=HOSTILE, comment=HOSTILE
    )
    decision = RetrainDecision(
        id="decision_1",
        project="support",
        verdict=DecisionVerdict.RETRAIN,
        status=DecisionStatus.AWAITING_APPROVAL,
        trigger="webhook",
        remedy="retrain",
        reasons=[HOSTILE],
        error=HOSTILE,
    )
    ledger.add(decision)
    ledger.change(ledger.get(TrainingRun, "run_1"), status="failed", error=HOSTILE)
    return ledger


@pytest.mark.parametrize("flags", [[], ["--json"]])
@pytest.mark.parametrize(
    "words",
    [
        ["traffic", "show", "--id", "req_00001"],
        ["feedback", "show", "req_00001"],
        ["status"],
        ["decisions"],
        ["refuse", "decision_1"],
        ["history"],
        ["runs"],
    ],
    ids=lambda words: words[0],
)
def test_a_terminal_obeys_no_user(
    loop: Ledger, settings: Settings, capsys: pytest.CaptureFixture[str], words: list[str], flags: list[str]
) -> None:
    with closing(loop):
        if words == ["history"]:
            note(loop, Cause(actor=HOSTILE, reason=HOSTILE), Action.PAUSE, "support", HOSTILE, after={"x": HOSTILE})
        assert main([*words, *flags, "--config", str(settings.path)]) == 0
    told = capsys.readouterr().out
    assert_inert(told)
    for line in told.splitlines() if flags else []:
        json.loads(line)


def test_an_error_quotes_what_it_is_about_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: object) -> None:
        raise DataError(f"row 3 is none: {HOSTILE}")

    assert run_command("test", fail, None) == 1  # type: ignore[arg-type]  # it looks at no argument
    told = capsys.readouterr().err
    assert BAD.findall(told) == []
    assert "owned" in told


def test_a_log_on_a_terminal_steers_nothing() -> None:
    event = process._inert(None, "info", {"event": "row refused", "text": HOSTILE, "n": 1})
    assert BAD.findall(str(event["text"])) == []
    assert event["n"] == 1
    rendered = structlog.processors.JSONRenderer()(None, "info", {"text": HOSTILE})
    assert BAD.findall(str(rendered)) == []


def test_rows_of_data_are_shown_as_text(capsys: pytest.CaptureFixture[str], settings: Settings) -> None:
    console = Console(width=200)
    _say(console, HOSTILE)
    row = Example(
        id="1",
        prompt=[{"role": "user", "content": HOSTILE}],
        completion=[{"role": "assistant", "content": HOSTILE}],
        label=HOSTILE,
        group="g",
    )
    show(settings.base, [row])
    told = capsys.readouterr().out
    assert BAD.findall(told) == []
    assert "owned" in told


def test_an_export_is_json_and_steers_nothing(loop: Ledger, tmp_path: Path) -> None:
    with closing(loop):
        export_traffic(loop, "support", tmp_path / "x.jsonl")
    line = (tmp_path / "x.jsonl").read_text(encoding="utf-8")
    assert json.loads(line)["prompt"] == HOSTILE
    assert BAD.findall(line) == []


def test_a_model_card_has_no_markup_of_others(loop: Ledger) -> None:
    with closing(loop):
        version = loop.get(ModelVersion, "version_1")
        run, dataset = loop.get(TrainingRun, "run_1"), loop.get(Dataset, "dataset_1")
        version = replace(version, verdict=GateVerdict(reason=HOSTILE, notes=(HOSTILE,)), base_model=HOSTILE)
        run = replace(run, base_model=HOSTILE, settings={"train": {"optim": HOSTILE}})
        card = model_card(version, run, dataset)
    assert "onerror" in card
    code = re.compile(r"`[^`\n]*`")
    told = code.sub("", card)  # what stands in code is shown as it is
    assert not re.search(r"(?<!\\)<(img|script)", told)
    assert not re.search(r"(?<!\\)\]\(", told)
    assert BAD.findall(card) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (FORMULA, f"'{FORMULA}"),
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+1+cmd|x", "'+1+cmd|x"),
        ("-2+3+cmd|' /C calc'!A0", "'-2+3+cmd|' /C calc'!A0"),
        ("\t=1", "'\t=1"),
        ("-0.5", "-0.5"),
        ("+3.1 points", "+3.1 points"),
        ("-", "-"),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_a_cell_is_no_formula(text: str, shown: str) -> None:
    assert inert_cell(text) == shown


def test_inert_text_says_what_was_there() -> None:
    assert inert("a\x1b[2J\u202e\x9b\n") == r"a\x1b[2J\u202e\x9b\n"
    assert inert_lines("a\nb\r") == "a\nb\\r"
    assert inert("ordinary: äöü, 中文, 🙂") == "ordinary: äöü, 中文, 🙂"
    assert json.loads(inert_json(json.dumps({"x": HOSTILE}, ensure_ascii=False))) == {"x": HOSTILE}


def test_a_fault_is_named_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    _print(Verified(looked_at=1, faults=(Fault(what="x", reason=HOSTILE),)), as_json=False)
    assert BAD.findall(capsys.readouterr().out) == []
