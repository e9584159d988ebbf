"""Every process that a process starts works with the settings of that process, wherever these came from."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from driftwheel.cli.up import children_of
from driftwheel.records.nouns import DecisionStatus, RetrainDecision
from driftwheel.settings.load import load_settings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from tests.support.retrains import ask_for_retrain
from train.asking.engine_child import engine
from train.verbs.publish import _build

ROOT = Path(__file__).resolve().parents[4]
REAL_PYTHON = sys.executable
CHILD = f"""#!{REAL_PYTHON}
import pathlib, sys
from driftwheel.settings.load import load_settings
flags = list(zip(sys.argv, sys.argv[1:]))
found = load_settings(dict(flags)["--config"], [value for flag, value in flags if flag == "--set"])
with (pathlib.Path(__file__).with_name("seen.txt")).open("a") as file:
    file.write(sys.argv[2] + " " + found.settings_hash + "\\n")
print('{{"reason": "seen", "path": "seen", "url": "http://127.0.0.1:9", "model": "m", "start_seconds": 1}}')
"""
"""What stands for Python: it says which settings a child of ours would work with, and answers as every child does."""


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Put that child in the place of Python; what the children saw, each with its module."""
    child = tmp_path / "python"
    child.write_text(CHILD)
    child.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(child))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return lambda: sorted((tmp_path / "seen.txt").read_text().splitlines())


@pytest.fixture
def changed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of file, environment and --set, whose file was written again afterwards."""
    monkeypatch.setenv("DRIFTWHEEL__TRAIN__LORA_R", "4")
    loaded = load_settings(settings.path, ["train.learning_rate=1e-05", "train.lr_scheduler_kwargs={rate: 1e-05}"])
    raw = yaml.safe_load(settings.path.read_text())
    settings.path.write_text(yaml.safe_dump(raw | {"train": {"seed": 9}}))
    return loaded


def test_the_processes_of_up_work_with_the_settings_of_up(changed: Settings, seen: Callable[[], list[str]]) -> None:
    children = children_of(changed.child_command, changed.child_environment(), changed.logs)
    for child in children:
        child.start()
    for child in children:
        child.wait(60)
    assert seen() == [f"{name} {changed.settings_hash}" for name in ("dashboard", "monitor", "serve", "train")]


def test_a_published_run_is_built_with_the_settings_of_publish(
    changed: Settings, seen: Callable[[], list[str]]
) -> None:
    _build(changed.child_command("train", "parity", "--json"), changed.child_environment(), "run_1")
    assert seen() == [f"train {changed.settings_hash}"]


def test_the_engine_of_an_evaluation_runs_with_its_settings(changed: Settings, seen: Callable[[], list[str]]) -> None:
    with engine(changed, ["--model", "m"]):
        pass
    assert seen() == [f"serve {changed.settings_hash}"]


WORKER = """
import sys
from driftwheel.cli.command import open_ledger
from driftwheel.settings.load import load_settings
from train.processes.executor import LocalExecutor
from train.workflow import Worker
from train.verbs.worker import run_until_stopped
from train.worker import RetrainStep

settings = load_settings(sys.argv[1], sys.argv[3:])
sys.executable = sys.argv[2]
step = RetrainStep("finetune", print, is_heavy=True)
worker = Worker(settings, open_ledger(settings), LocalExecutor(), steps=[step])
run_until_stopped(worker, lambda: worker.next_decision() is None)
"""


def test_a_retrains_steps_work_with_the_settings_of_the_worker(
    settings: Settings, ledger: Ledger, seen: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ask_for_retrain(settings, ledger)
    monkeypatch.setenv("DRIFTWHEEL__TRAIN__LORA_R", "4")
    overrides = ["train.learning_rate=1e-05", "train.seed=3"]
    argv = [REAL_PYTHON, "-c", WORKER, str(settings.path), sys.executable, *overrides]
    subprocess.run(argv, check=True, timeout=400)
    assert seen() == [f"train {load_settings(settings.path, overrides).settings_hash}"]


def test_ctrl_c_ends_a_worker_in_the_middle_of_a_step_and_the_step_with_it(
    settings: Settings, ledger: Ledger, tmp_path: Path
) -> None:
    decision = ask_for_retrain(settings, ledger)
    child, pid_path = tmp_path / "python", tmp_path / "pid"
    told = f"pathlib.Path({str(pid_path)!r}).write_text(str(os.getpid()) + 'x')"
    waiting = f"import os, pathlib, time\n{told}\ntime.sleep(600)\n"
    child.write_text(f"#!{REAL_PYTHON}\n{waiting}")
    child.chmod(0o755)
    worker = subprocess.Popen([REAL_PYTHON, "-c", WORKER, str(settings.path), str(child)], cwd=ROOT)
    try:
        wait_until(lambda: pid_path.is_file() and pid_path.read_text().endswith("x"))
        worker.send_signal(signal.SIGINT)
        assert worker.wait(180) == 130
    finally:
        worker.kill()
        worker.wait()
    wait_until(lambda: not Path("/proc", pid_path.read_text()[:-1]).exists())
    assert ledger.get(RetrainDecision, decision.id).status is DecisionStatus.RUNNING


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_child_sets_over_what_it_was_handed(changed: Settings) -> None:
    child = load_settings(changed.path, ["train.seed=5"], changed.child_environment())
    assert (child.train.seed, child.train.learning_rate, child.train.lora_r) == (5, 1e-05, 4)


def test_settings_that_were_handed_on_are_not_those_of_another_file(changed: Settings, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(changed.path.read_text())
    assert load_settings(other, environ=changed.child_environment()).train.seed == 9


def test_a_number_without_a_point_is_a_number(settings: Settings) -> None:
    found = load_settings(settings.path, ["train.lr_scheduler_kwargs={rate: 1e-5}", "tune.space={seed: [2E+1]}"])
    assert found.train.lr_scheduler_kwargs == {"rate": 1e-5}
    assert found.tune.space == {"seed": [20.0]}


def test_no_process_of_ours_is_started_in_another_way() -> None:
    """A child of the doctor gets every flag, as there may be no settings file; vLLM and its client have only flags."""
    stages = ("train", "serve", "monitor", "dashboard", "driftwheel")
    found = {
        str(path.relative_to(ROOT))
        for stage in stages
        for path in (ROOT / stage).rglob("*.py")
        if re.search(r'sys\.executable, "-m", "(train|serve|monitor|dashboard|driftwheel)', path.read_text())
    }
    assert found == {"driftwheel/cli/doctor.py", "serve/engines/vllm_command.py", "serve/loading/vllm_client.py"}
