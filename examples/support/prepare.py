"""Makes what the demo starts from: base model, seed data, settings file, and messages to send."""

import json
import os
import random
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from driftwheel.settings.load import load_settings
from driftwheel.settings.settings import Settings
from examples.support.demo_tasks import SUPPORT
from examples.support.task import Asked, Task
from examples.support.world import Phase

CONFIG = SUPPORT.config
SEEDS = {"seed": 1, "steady": 2, "shifted": 3, "held_out_steady": 4, "held_out_shifted": 5, "load": 6}
"""All different: the demo must not ask what it was trained on."""


def prepare(console: Console, home: Path, task: Task = SUPPORT) -> Settings:
    """Build or find the task's base model, write the seed data and the settings file."""
    home.mkdir(parents=True, exist_ok=True)
    base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "driftwheel" / task.base
    console.print(f"base model: {base}", markup=False, soft_wrap=True)
    argv = [sys.executable, "-m", "examples.support.build_base", "--out", str(base), "--task", task.name]
    subprocess.run(argv, check=True)
    raw = yaml.safe_load(task.config.read_text(encoding="utf-8"))
    raw["model"]["base"] = str(base)
    choose_ports(raw)
    write_seed(home / "seed.jsonl", task.requests(task.sizes.seed_rows, SEEDS["seed"], "steady"), task)
    path = home / "driftwheel.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    return load_settings(path)


def write_seed(path: Path, examples: Sequence[Asked], task: Task = SUPPORT) -> None:
    """Write requests as a source file, one row for each right answer, each request a conversation of its own."""
    rows = (
        {"prompt": e.text, "completion": text, "conversation": f"seed-{number}"}
        for number, e in enumerate(examples)
        for text in task.right_answers(e)
    )
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def choose_ports(raw: dict[str, Any]) -> None:
    """Set ports that nothing listens on, all different, for gateway, exporter and dashboard."""
    # All are held until each section has its port: one that is let go could be dealt out again.
    with ExitStack() as stack:
        for section in ("serve", "monitor", "dashboard"):
            probe = stack.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            raw.setdefault(section, {})["port"] = int(probe.getsockname()[1])


def shuffle_answers(source: Path, target: Path) -> Path:
    """Write a copy of training rows whose answers are dealt out at random: fluent ones, but of other requests."""
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").split("\n") if line]
    answers = [row["completion"][0]["content"] for row in rows]
    random.Random(0).shuffle(answers)
    lines = [
        json.dumps({"prompt": row["prompt"][-1]["content"], "completion": text, "conversation": row["id"]})
        for row, text in zip(rows, answers, strict=True)
    ]
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return target


def held_out_requests(task: Task, phase: Phase) -> Sequence[Asked]:
    """Return requests that no version can have learned: none is in the seed data or in the corrected traffic."""
    sizes, requests = task.sizes, task.requests
    learned = [
        *requests(sizes.seed_rows, SEEDS["seed"], "steady"),
        *requests(sizes.steady_windows * 1000, SEEDS["steady"], "steady"),
        *requests(sizes.shifted_windows * 1000, SEEDS["shifted"], "shifted"),
    ]
    return requests(sizes.held_out_rows, SEEDS[f"held_out_{phase}"], phase, but_not={e.text for e in learned})
