"""Benchmark: size, accuracy, parity and tokens a second through vLLM of each quantization scheme.

    python -m benchmarks.quantization [example] [speed] [--config FILE] [--rounds N]

`example` trains the example's model, writes it in every scheme that this machine serves, and asks all engines the same
test items. That model is so small that the engine's own work hides the kernels, so `speed` times one of 135 million
parameters (random weights: speed does not depend on their values), also with zentorch where that installs. Four engines
at a time live side by side, `none` among them, and answer in short rounds of changing order; ratios are of the same
rounds. What was trained and built is found and not made again.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from benchmarks.banking77 import DATA, read
from benchmarks.engine_speed import STREAMS, Round, measure_rounds, running, speed, times
from benchmarks.training import build_base
from driftwheel import quantization
from driftwheel.cli.command import open_ledger
from driftwheel.errors import DriftwheelError, ParityError
from driftwheel.files.artifacts import is_complete
from driftwheel.records.nouns import Dataset, TrainingRun
from driftwheel.records.scorecard import ParityRow
from driftwheel.settings.load import load_settings
from driftwheel.settings.settings import Settings
from examples.support.prepare import prepare
from train.evaluation.scoring import read_split
from train.fidelity.hops import require
from train.fidelity.parity_table import Parity
from train.fidelity.served import measure_served
from train.parity import hop_line
from train.runs import newest_run
from train.worker import build_artifact, measure_forms

SCHEMES = tuple(quantization.SCHEMES)
TIMED = tuple(name for name, scheme in quantization.SCHEMES.items() if scheme.kernels_of is None)
WITH_ZENTORCH = ("none", "w8a8", "w4a16")
ANY = {"quantized_agreement": 1e-9, "quantized_gap": 1e9, "served_agreement": 1e-9, "served_gap": 1e9}
"""Tolerances that let every scheme be measured; the usual ones are asked afterwards."""
SPEEDS = (*(f"tokens/s, {n}" for n in STREAMS), *(f"times none, {n}" for n in STREAMS), "tokens/CPU s, 8")
SIDE_BY_SIDE = 4
"""Engines that live at a time; each holds about two gigabytes."""
console = Console(width=190)


def train_example(home: Path, overrides: list[str]) -> Settings:
    """Write the example's settings and data and train its first version, or find it."""
    settings = prepare(Console(stderr=True), home)
    return _trained(settings.path, overrides)


def train_large(home: Path, data: Path, overrides: list[str]) -> Settings:
    """Give the example's rows to a base of 135 million random weights, for two steps."""
    settings = prepare(Console(stderr=True), home)
    base = home / "base"
    if not is_complete(base):
        build_base(base, "135m", read(data / "train.csv"))
    raw = yaml.safe_load(settings.path.read_text(encoding="utf-8"))
    raw["model"]["base"] = str(base)
    settings.path.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    short = ["train.max_steps=2", "parity.items=8", "evaluate.max_tokens=8", "quantize.calibration_rows=8"]
    return _trained(settings.path, [*overrides, *short])


def _trained(path: Path, overrides: list[str]) -> Settings:
    settings = load_settings(path, overrides)
    if open_ledger(settings).find(TrainingRun, project=settings.project):
        return settings
    for verb in (["data", "build"], ["finetune"]):
        flags = [part for override in overrides for part in ("--set", override)]
        argv = [sys.executable, "-m", "train", *verb, "--config", str(path), *flags]
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return settings


def with_scheme(settings: Settings, scheme: str) -> Settings:
    """Return settings of a scheme, with no tolerance."""
    return settings.model_copy(
        update={
            "quantize": settings.quantize.model_copy(update={"scheme": scheme}),
            "parity": settings.parity.model_copy(update=ANY),
        }
    )


def build(settings: Settings, schemes: Sequence[str]) -> dict[str, Path]:
    """Write the newest run's artifact in each scheme, and say which one this machine cannot make."""
    ledger = open_ledger(settings)
    run, built = newest_run(ledger, settings.project), {}
    for scheme in schemes:
        try:
            built[scheme] = build_artifact(with_scheme(settings, scheme), ledger, run.id)
        except DriftwheelError as error:
            say(f"{scheme}: not made: {error}")
    return built


def compare(settings: Settings, built: dict[str, Path]) -> dict[str, Parity]:
    """Read every artifact's files with transformers, and hold them against the merged model's."""
    ledger = open_ledger(settings)
    run = newest_run(ledger, settings.project)
    return {name: measure_forms(with_scheme(settings, name), ledger, run.id, path) for name, path in built.items()}


def example(settings: Settings, rounds: int, schemes: Sequence[str]) -> None:
    """Print the table of the example's model."""
    built = build(settings, schemes)
    found = compare(settings, built)
    served: dict[str, list[ParityRow]] = {}
    timed: dict[str, Sequence[Round]] = {}
    for names in together(list(built)):
        with ExitStack() as stack:
            engines = [stack.enter_context(running(settings, name, built[name])) for name in names]
            for one in engines:
                served[one.name] = measure_served(with_scheme(settings, one.name), one.endpoint, found[one.name], {})
                say(f"{one.name}: {hop_line(served[one.name][-1])}")
            say_speeds(measure_rounds(engines, _prompts(settings), rounds, 2), names, timed)
    table = Table(
        "scheme",
        "MB",
        "accuracy, served",
        "as merged",
        "mean nats",
        "of loss",
        "most nats",
        "as files",
        *SPEEDS,
        "published",
        title=f"{settings.project}, {len(next(iter(found.values())).probes)} items",
    )
    for name, rows in served.items():
        _, _, files, endpoint = rows
        table.add_row(
            name,
            f"{_weights_bytes(built[name]) / 1e6:.2f}",
            _share(endpoint, "accuracy"),
            _share(files, "agreement"),
            f"{files.mean_logprob_difference:.5f}",
            f"{files.loss_share:.1%}",
            f"{files.max_logprob_difference:.3f}",
            f"{endpoint.agreement:.1%}",
            *_speeds(timed[name], name),
            _verdict(settings, rows),
        )
    console.print(table)


def large(settings: Settings, rounds: int) -> None:
    """Print the table of speeds."""
    built = build(settings, TIMED)
    packages = install_zentorch(settings.root)
    plain = {name: (path, None) for name, path in built.items()}
    zen = {f"{name}, zentorch": (built[name], packages) for name in WITH_ZENTORCH if packages and name in built}
    contestants, timed = {**plain, **zen}, dict[str, Sequence[Round]]()
    for names in together(list(contestants)):
        with ExitStack() as stack:
            engines = [stack.enter_context(running(settings, name, *contestants[name])) for name in names]
            say_speeds(measure_rounds(engines, _prompts(settings), rounds, 1), names, timed)
    table = Table("scheme", "MB", *SPEEDS, title="135 million parameters")
    for name, (path, _) in contestants.items():
        table.add_row(name, f"{_weights_bytes(path) / 1e6:.0f}", *_speeds(timed[name], name))
    console.print(table)


def together(names: list[str]) -> Iterator[list[str]]:
    """Give the engines that live side by side, as many as fit into memory; the first one is in every group."""
    first, *others = names
    for start in range(0, max(len(others), 1), SIDE_BY_SIDE - 1):
        yield [first, *others[start : start + SIDE_BY_SIDE - 1]]


def install_zentorch(home: Path) -> Path | None:
    """Put zentorch for this torch into a folder of its own, so that no other engine finds it; None says why not."""
    import torch

    folder = home / "zentorch"
    if not folder.is_dir():
        release = ".".join(torch.__version__.split(".")[:2])
        argv = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
        done = subprocess.run([*argv, f"zentorch=={release}.*", "deprecated", "wrapt"], capture_output=True, text=True)
        if done.returncode != 0:
            say(f"zentorch does not install: {done.stderr.strip().splitlines()[-1]}")
            return None
    return folder


def say(line: str) -> None:
    """Print a line at once."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def say_speeds(rounds: Sequence[Round], names: Sequence[str], timed: dict[str, Sequence[Round]]) -> None:
    """Print what the engines of a group reached, and note each one's group, which is the first that it was in."""
    for name in names:
        timed.setdefault(name, rounds)
        one, eight, times_one, times_eight, per_cpu = _speeds(rounds, name)
        say(
            f"{name}: {one} tokens a second in one stream, {eight} in eight, {per_cpu} per CPU second; "
            f"{times_one} and {times_eight} times none"
        )


def _prompts(settings: Settings) -> list[Any]:
    dataset = open_ledger(settings).newest(Dataset, settings.project)
    return [row.prompt for row in read_split(dataset, "train")]


def _weights_bytes(artifact: Path) -> int:
    return sum(path.stat().st_size for path in artifact.glob("*.safetensors"))


def _share(row: ParityRow, key: str) -> str:
    low, high = getattr(row, f"{key}_interval")
    return f"{getattr(row, key):.1%} [{low:.1%}, {high:.1%}]"


def _speeds(rounds: Sequence[Round], name: str) -> list[str]:
    found = [speed(rounds, name, streams) for streams in STREAMS]
    cells = [f"{s['median']:.0f} ({s['slowest']:.0f} to {s['fastest']:.0f})" for s in found]
    ratios = [f"{times(rounds, name, SCHEMES[0], streams):.2f}" for streams in STREAMS]
    return [*cells, *ratios, f"{found[-1]['per_cpu_second']:.0f}"]


def _verdict(settings: Settings, rows: Sequence[ParityRow]) -> str:
    """Say what the settings' own tolerances make of a scheme."""
    try:
        require(settings.parity, rows)
    except ParityError as error:
        return f"no: {error.hop}, {error.check}"
    return "yes"


def main() -> int:
    """Run the parts that are named, or both."""
    parser = argparse.ArgumentParser(description="Size, accuracy, parity and speed of each quantization scheme.")
    parser.add_argument("parts", nargs="*", metavar="example, speed", help="what to measure (both)")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="settings of a trained model (trains the example's)"
    )
    parser.add_argument("--home", type=Path, default=Path.cwd() / ".driftwheel" / "quantization")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with Banking77's train.csv")
    parser.add_argument("--schemes", nargs="+", default=SCHEMES, choices=SCHEMES, help="of the example (all)")
    parser.add_argument("--rounds", type=int, default=4, help="rounds at each number of streams (4)")
    parser.add_argument("--items", type=int, default=500, help="test items for accuracy and parity (500)")
    parser.add_argument("--calibration-rows", type=int, default=128, help="rows shown to llm-compressor (128)")
    parser.add_argument("--llmcompressor-python", metavar="PYTHON", help="of an environment that exists (makes one)")
    arguments = parser.parse_args()
    home, parts = arguments.home.resolve(), arguments.parts or ["example", "speed"]
    python = arguments.llmcompressor_python
    overrides = [
        f"parity.items={arguments.items}",
        f"quantize.calibration_rows={arguments.calibration_rows}",
        f"quantize.llmcompressor_python={python or 'null'}",
    ]
    if "example" in parts:
        config = arguments.config
        settings = load_settings(config, overrides) if config else train_example(home / "example", overrides)
        example(settings, arguments.rounds, arguments.schemes)
    if "speed" in parts:
        large(train_large(home / "large", arguments.data, overrides), arguments.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
