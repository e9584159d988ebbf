"""A decision goes through the steps once, whatever dies in between."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from driftwheel.control import approvals
from driftwheel.errors import ConflictError
from driftwheel.records.bookkeeping import Step
from driftwheel.records.by_whom import Action, Cause
from driftwheel.records.nouns import DecisionStatus, RetrainDecision, TrainingRun, TrainingRunStatus
from driftwheel.settings.load import load_settings
from driftwheel.settings.settings import Settings
from driftwheel.store.events import events_of
from driftwheel.store.ledger import Ledger
from tests.support.retrains import ask_for_retrain
from tests.support.versions import add_with_parents, dataset_stub, run_stub
from train.worker import STEPS
from train.workflow import only_worker

SCRIPT = """
import os, pathlib, sys, time
from driftwheel.control.approvals import cancel
from driftwheel.cli.command import open_ledger
from driftwheel.settings.load import load_settings
from driftwheel.errors import DataError, StorageError
from train.processes.executor import LocalExecutor
from train.workflow import Worker
from train.retrain_state import Progress
from train.worker import RetrainStep

settings = load_settings(sys.argv[1])
diary, mode = pathlib.Path(sys.argv[2]), sys.argv[3]

def note(text):
    with diary.open("a") as file:
        file.write(text + "\\n")

def first(job, made):
    note("first")
    (artifact := settings.root / "artifacts" / "one").mkdir(parents=True)
    return Progress(dataset_id="dataset_1", artifact=str(artifact))

def second(job, made):
    note("second " + made.need("dataset_id"))
    if not pathlib.Path(made.need("artifact")).is_dir():
        raise DataError(made.need("artifact") + " is gone")
    if mode == "die":
        os._exit(9)
    if mode == "refuse":
        raise DataError("too few rows")
    return Progress(run_id="run_1")

def third(job, made):
    note("third " + made.need("run_id"))
    if mode == "locked" and diary.read_text().count("third") == 1:
        raise StorageError("the ledger refused a write: database is locked")
    return Progress(rolled_out=mode != "gate", reason="worse by 3 points")

class Hanging:
    # A child that hangs, and one of its own beside it, in the place of each heavy step.

    def run(self, argv, **named):
        return LocalExecutor().run(["bash", "-c", "sleep 600 & echo $! >> $DIARY; wait"], **named | {
            "environment": {**named["environment"], "DIARY": str(diary)}
        })

steps = [RetrainStep(step.__name__, step) for step in (first, second, third)]
if mode in ("hang", "cancel"):
    steps.insert(1, RetrainStep("finetune", second, is_heavy=True))

class Late(Worker):
    # A person cancels what the worker has just read.

    def next_decision(self):
        found = super().next_decision()
        note("looked")
        if mode == "late" and diary.read_text().count("looked") == 2:
            cancel(self._ledger, settings.project, found.id)
        return found

worker = (Late if mode == "late" else Worker)(settings, open_ledger(settings), Hanging(), steps=steps)
worker.run(lambda: worker.next_decision() is None)
"""


@pytest.fixture(autouse=True)
def made(ledger: Ledger) -> None:
    """What the steps say that they make."""
    add_with_parents(ledger, dataset_stub("dataset_1"), run_stub("run_1"))


def run_worker(settings: Settings, diary: Path, mode: str) -> int:
    argv = [sys.executable, "-c", SCRIPT, str(settings.path), str(diary), mode]
    return subprocess.run(argv, check=False, timeout=400).returncode


@pytest.mark.every_database
def test_a_worker_killed_in_a_step_resumes_there_and_repeats_no_finished_step(
    settings: Settings, ledger: Ledger, tmp_path: Path
) -> None:
    decision, diary = ask_for_retrain(settings, ledger), tmp_path / "diary"
    assert run_worker(settings, diary, "die") == 9
    assert ledger.get(RetrainDecision, decision.id).status is DecisionStatus.RUNNING
    assert run_worker(settings, diary, "go on") == 0
    assert diary.read_text().splitlines() == ["first", "second dataset_1", "second dataset_1", "third run_1"]
    done = ledger.get(RetrainDecision, decision.id)
    assert (done.status, done.dataset_id, done.run_id) == (DecisionStatus.PROMOTED, "dataset_1", "run_1")
    steps = {step.name: step for step in ledger.find(Step, decision_id=decision.id)}
    assert {name: (s.status, s.attempt) for name, s in steps.items()} == {
        "first": ("done", 1),
        "second": ("done", 2),
        "third": ("done", 1),
    }


@pytest.mark.every_database
def test_a_worker_goes_on_after_its_storage_folder_was_moved(settings: Settings, tmp_path: Path) -> None:
    with closing(Ledger(settings.database_url)) as ledger:
        decision = ask_for_retrain(settings, ledger)
    assert run_worker(settings, tmp_path / "diary", "die") == 9
    raw, elsewhere = yaml.safe_load(settings.path.read_text()), tmp_path / "elsewhere"
    settings.root.rename(elsewhere)
    raw["storage"]["root"] = str(elsewhere)
    settings.path.write_text(yaml.safe_dump(raw))
    moved = load_settings(settings.path, environ={})
    assert run_worker(moved, tmp_path / "diary", "go on") == 0
    with closing(Ledger(moved.database_url)) as ledger:
        done = ledger.get(RetrainDecision, decision.id)
        assert (done.status, done.error) == (DecisionStatus.PROMOTED, None)
        assert ledger.get(Step, f"{decision.id}/first").output["artifact"] == "storage:artifacts/one"


@pytest.mark.parametrize(
    ("mode", "status", "error"),
    [("refuse", DecisionStatus.FAILED, "too few rows"), ("gate", DecisionStatus.REFUSED, "worse by 3 points")],
    ids=["a step that fails", "a gate that says no"],
)
def test_a_retrain_that_ends_without_promotion_says_why(
    settings: Settings, ledger: Ledger, tmp_path: Path, mode: str, status: DecisionStatus, error: str
) -> None:
    decision = ask_for_retrain(settings, ledger)
    assert run_worker(settings, tmp_path / "diary", mode) == 0
    done = ledger.get(RetrainDecision, decision.id)
    assert done.status is status
    assert error in str(done.error)
    (event,) = events_of(ledger, settings.project, actions=[Action.END_RETRAIN])
    assert (event.actor, event.object_id, event.after["status"]) == ("process:worker", decision.id, status)


def is_gone(pid: int) -> bool:
    """Say whether a process has ended; where nobody waits for it, it is a zombie for ever."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def hung_child(diary: Path) -> int:
    """Return the process that the hanging step started, once it has."""
    deadline = time.monotonic() + 180
    while not (words := diary.read_text().split() if diary.exists() else []) or not words[-1].isdecimal():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return int(words[-1])


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 180
    while not is_gone(pid):
        assert time.monotonic() < deadline, f"process {pid} still runs"
        time.sleep(0.02)


def test_a_step_that_hangs_is_ended_after_its_limit_and_told(
    settings: Settings, ledger: Ledger, tmp_path: Path
) -> None:
    raw = yaml.safe_load(settings.path.read_text()) | {"policy": {"step_seconds": {"finetune": 4}}}
    settings.path.write_text(yaml.safe_dump(raw))
    decision = ask_for_retrain(settings, ledger)
    assert run_worker(settings, tmp_path / "diary", "hang") == 0
    done = ledger.get(RetrainDecision, decision.id)
    assert done.status is DecisionStatus.FAILED
    assert "longer than its limit of 4 s" in str(done.error)
    assert "policy.step_seconds.finetune" in str(done.error)
    step = ledger.get(Step, f"{decision.id}/finetune")
    assert step.status == "failed"
    assert step.finished_at is not None
    assert (step.finished_at - step.created_at).total_seconds() < 120  # it would take ten minutes
    wait_until_gone(hung_child(tmp_path / "diary"))


def test_a_cancelled_retrain_ends_with_its_children_and_is_no_failed_candidate(
    settings: Settings, ledger: Ledger, tmp_path: Path
) -> None:
    decision = ask_for_retrain(settings, ledger)
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(run_worker, settings, tmp_path / "diary", "cancel")
        child = hung_child(tmp_path / "diary")
        running = replace(
            run_stub("run_of_it"), project="support", dataset_id="dataset_1", status=TrainingRunStatus.RUNNING
        )
        ledger.add(running)
        approvals.cancel(ledger, "support", decision.id, by=Cause(actor="person:Ann", reason="wrong data"))
        assert under_way.result(400) == 0
    done = ledger.get(RetrainDecision, decision.id)
    assert (done.status, done.error) == (DecisionStatus.CANCELLED, "cancelled by person:Ann: wrong data")
    wait_until_gone(child)
    ended = ledger.get(TrainingRun, running.id)
    assert (ended.status, ended.error) == (TrainingRunStatus.FAILED, done.error)
    with pytest.raises(ConflictError, match="nothing to cancel"):
        approvals.cancel(ledger, "support", decision.id)


def test_a_database_that_is_locked_for_a_while_fails_no_candidate(
    settings: Settings, ledger: Ledger, tmp_path: Path
) -> None:
    decision = ask_for_retrain(settings, ledger)
    assert run_worker(settings, tmp_path / "diary", "locked") == 0
    assert ledger.get(RetrainDecision, decision.id).status is DecisionStatus.PROMOTED
    assert (tmp_path / "diary").read_text().splitlines() == ["first", "second dataset_1", "third run_1", "third run_1"]
    assert ledger.get(Step, f"{decision.id}/third").attempt == 2


def test_a_decision_that_is_cancelled_as_it_is_taken_ends_no_worker(
    settings: Settings, ledger: Ledger, tmp_path: Path
) -> None:
    decision = ask_for_retrain(settings, ledger)
    assert run_worker(settings, tmp_path / "diary", "late") == 0
    assert ledger.get(RetrainDecision, decision.id).status is DecisionStatus.CANCELLED
    assert "first" not in (tmp_path / "diary").read_text()


def test_a_second_worker_on_the_same_folder_is_refused(settings: Settings) -> None:
    with only_worker(settings.root), pytest.raises(ConflictError, match="another worker"), only_worker(settings.root):
        pass


def test_a_decision_that_waits_for_approval_is_left_alone(settings: Settings, ledger: Ledger, tmp_path: Path) -> None:
    decision = ask_for_retrain(settings, ledger, "drift")
    ledger.change(decision, status=DecisionStatus.AWAITING_APPROVAL)
    assert run_worker(settings, tmp_path / "diary", "go on") == 0
    assert not (tmp_path / "diary").exists()
    assert replace(decision).id == decision.id


def test_the_steps_stand_in_the_order_of_the_circle() -> None:
    names = [step.name for step in STEPS]
    assert names == [
        "build_dataset",
        "finetune",
        "merge",
        "quantize",
        "parity",
        "evaluate",
        "gate",
        "publish_version",
        "roll_out",
    ]
