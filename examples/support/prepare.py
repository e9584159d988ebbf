"""Makes what the demo starts from: base model, seed data, settings file, and messages to send."""

import json
import os
import random
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from driftwheel.settings.load import load_settings
from driftwheel.settings.settings import Settings
from examples.support.world import Example, Phase, answer, messages

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "demo.yaml"
SEED_ROWS, STEADY_WINDOWS, SHIFTED_WINDOWS, HELD_OUT_ROWS = 3000, 4, 10, 300
SEEDS = {"seed": 1, "steady": 2, "shifted": 3, "held_out_steady": 4, "held_out_shifted": 5, "load": 6}
"""All different: the demo must not ask what it was trained on."""


def prepare(console: Console, home: Path) -> Settings:
    """Build or find the base model, write the seed data and the settings file."""
    home.mkdir(parents=True, exist_ok=True)
    base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "driftwheel" / "support-base"
    console.print(f"base model: {base}", markup=False, soft_wrap=True)
    subprocess.run([sys.executable, "-m", "examples.support.build_base", "--out", str(base)], check=True)
    raw = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    raw["model"]["base"] = str(base)
    choose_ports(raw)
    write_seed(home / "seed.jsonl", messages(SEED_ROWS, SEEDS["seed"], "steady"))
    path = home / "driftwheel.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    return load_settings(path)


def write_seed(path: Path, examples: list[Example]) -> None:
    """Write labelled messages as a source file, each a conversation of its own."""
    rows = (
        {"prompt": e.text, "completion": answer(e), "conversation": f"seed-{number}"}
        for number, e in enumerate(examples)
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


def shuffle_labels(source: Path, target: Path) -> Path:
    """Write a copy of training rows whose answers are dealt out at random."""
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").split("\n") if line]
    answers = [row["completion"][0]["content"] for row in rows]
    random.Random(0).shuffle(answers)
    lines = [
        json.dumps({"prompt": row["prompt"][-1]["content"], "completion": text, "conversation": row["id"]})
        for row, text in zip(rows, answers, strict=True)
    ]
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return target


def held_out_messages(phase: Phase) -> list[Example]:
    """Return messages that no version can have learned: none is in the seed data or in the corrected traffic."""
    learned = [
        *messages(SEED_ROWS, SEEDS["seed"], "steady"),
        *messages(STEADY_WINDOWS * 1000, SEEDS["steady"], "steady"),
        *messages(SHIFTED_WINDOWS * 1000, SEEDS["shifted"], "shifted"),
    ]
    return messages(HELD_OUT_ROWS, SEEDS[f"held_out_{phase}"], phase, but_not={e.text for e in learned})
