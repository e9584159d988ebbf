"""Benchmark: parity tables of trained and served models; planted faults must be found, clean builds must pass.

    python -m benchmarks.parity [--config FILE ...] [--builds N]

Without --config the example's model and Banking77's are made and trained first, which takes a quarter of an hour. The
tables hold as many test rows as `parity.items` allows. Each fault is planted in a copy of the first model's run; the
right answer is the form of the model in which it was planted, and nothing else.
"""

import argparse
import random
import subprocess
import sys
import tempfile
from concurrent.futures import Executor
from pathlib import Path

from rich.console import Console
from scipy.stats import binomtest

from benchmarks.banking77 import DATA, TRAFFIC_ROWS, build_base, prepare, read
from driftwheel.errors import ParityError
from driftwheel.records.scorecard import ParityRow
from driftwheel.settings.settings import Settings
from examples.support.prepare import prepare as prepare_support
from tests.support.copied_builds import Subject, clean_rows, subject_of, what_is_named, workers
from tests.support.planted_faults import FAULTS
from train.asking.engine_child import engine
from train.base_model import load_tokenizer, load_weights
from train.fidelity.hops import measure
from train.fidelity.parity_table import Parity
from train.fidelity.probing import Reading, read_model, reading_device
from train.fidelity.served import measure_served
from train.merge import merge
from train.parity import hop_line
from train.weights.scheme_choice import chosen_scheme
from train.worker import build_artifact, measure_forms

ITEMS = 1000
BARS = {"merged": 0.995, "quantized": 0.97}


def make_homes(home: Path, data: Path) -> list[Path]:
    """Make the example's model and Banking77's, train both, or find them, and return their settings files."""
    homes = [home / "support", home / "banking77"]
    if all((folder / "trained").is_file() for folder in homes):
        return [folder / "driftwheel.yaml" for folder in homes]
    for folder in homes:
        folder.mkdir(parents=True, exist_ok=True)
    questions = read(data / "train.csv")
    build_base(homes[1] / "base", questions)
    random.Random(0).shuffle(questions)
    made = [prepare_support(Console(), homes[0]), prepare(homes[1], questions[TRAFFIC_ROWS:], homes[1] / "base")]
    for settings in made:
        for verb in (["data", "build"], ["finetune"]):
            argv = [sys.executable, "-m", "train", *verb, "--config", str(settings.path)]
            subprocess.run([*argv, "--set", f"parity.items={ITEMS}"], check=True, stdout=subprocess.DEVNULL)
        (settings.path.parent / "trained").touch()
    return [settings.path for settings in made]


def plant_all(subject: Subject, pool: Executor) -> int:
    """Plant every fault, print what is named, and return how many are not."""
    missed = 0
    place = (subject.settings.path, subject.run.id)
    merge(subject.settings, subject.ledger, subject.run.id)  # before every process looks for it
    named = pool.map(what_is_named, *zip(*[(*place, fault.name) for fault in FAULTS], strict=True))
    for fault, (hop, check) in zip(FAULTS, named, strict=True):
        missed += hop != fault.hop
        found = f"named: {hop} ({check})" if hop else "NOT CAUGHT"
        say(f"  {fault.name:<46} planted in {fault.hop:<9} {found}{'' if hop == fault.hop else '  WRONG'}")
    say(f"{len(FAULTS) - missed} of {len(FAULTS)} faults of the files are caught and named")
    return missed


def build_clean(subject: Subject, pool: Executor, builds: int) -> int:
    """Build other adapters through every hop, print how many are refused, and return that number."""
    refused = passed_over = 0
    worst: dict[str, float] = {}
    place = (subject.settings.path, subject.run.id)
    for found in pool.map(clean_rows, *zip(*[(*place, seed) for seed in range(builds)], strict=True)):
        if isinstance(found, str):
            refused += 1
            say(f"  {found}")
            continue
        for row in found[1:]:
            passed_over += row.coarser is not None
            for key in ("mean_logprob_difference", "max_logprob_difference"):
                worst[f"{row.hop} {key}"] = max(worst.get(f"{row.hop} {key}", 0), getattr(row, key))
            disagreement = 1 - (row.agreement or 0.0)
            worst[f"{row.hop} disagreement"] = max(worst.get(f"{row.hop} disagreement", 0), disagreement)
            if row.noise is not None:
                for key in ("loss_share", "own_share"):
                    name = f"{row.hop} noise {key}"
                    worst[name] = max(worst.get(name, 0), getattr(row.noise, key))
    bound = binomtest(refused, builds).proportion_ci(0.9, method="exact").high
    say(f"{refused} of {builds} clean builds refused (95 % upper bound {bound:.1%}), {passed_over} in a finer scheme")
    say("the worst of them:")
    say("  " + ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in worst.items()))
    return refused


def print_table(subject: Subject, *, with_faults: bool) -> int:
    """Print a model's parity table and its noise floors; return how many bars or faults of the endpoint were missed."""
    settings = subject.settings
    artifact = build_artifact(settings, subject.ledger, subject.run.id)
    found = measure_forms(settings, subject.ledger, subject.run.id, artifact)
    with engine(settings, ["--artifact", str(artifact)]) as own:
        rows = measure_served(settings, own, found, {})
        again = measure_served(settings, own, found, {})[-1]
    for row in rows:
        say(f"  {hop_line(row)}")
    for title, row in (("merged, read in other batches", _read_again(subject, found)), ("served, asked again", again)):
        reference = row if title.startswith("merged") else rows[-1]
        apart, first_apart = row.mean_logprob_difference, reference.mean_logprob_difference
        say(
            f"  noise floor, {title}: {row.agreement:.2%} against {row.against}, {apart:.2g} nats "
            f"(first time {reference.agreement:.2%}, {first_apart:.2g} nats)"
        )
    missed = 0
    for row in rows:
        if row.hop in BARS:
            is_met = (row.agreement or 0.0) >= BARS[row.hop]
            missed += not is_met
            say(f"  bar: {row.hop} at least {BARS[row.hop]:.1%}: {'met' if is_met else 'MISSED'}")
    return missed + (plant_in_engine(settings, found, subject) if with_faults else 0)


def _read_again(subject: Subject, found: Parity) -> ParityRow:
    """Measure the merged model against itself, each second probe in batches of its own."""
    folder = merge(subject.settings, subject.ledger, subject.run.id)
    model, tokenizer = load_weights(str(folder), "auto", device=reading_device()), load_tokenizer(str(folder))
    readings: list[Reading] = list(found.chain[1][1])
    for start in (0, 1):
        part = found.probes[start::2]
        readings[start::2] = read_model(
            model,
            tokenizer,
            part,
            found.max_tokens,
            is_autocast=False,
            label_field=subject.settings.dataset.label_field,
        )
    return measure("merged again", readings, [found.chain[1]])


def plant_in_engine(settings: Settings, found: Parity, subject: Subject) -> int:
    """Start engines that serve something else than the artifact, and return how many are not named."""
    template = (found.artifact / "chat_template.jinja").read_text(encoding="utf-8")
    missed = 0
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "other.jinja"
        path.write_text(template.replace("<|im_start|>assistant", "<|im_start|>user"), encoding="utf-8")
        other = settings.serve.model_copy(update={"engine_args": ["--chat-template", str(path)]})
        templated = settings.model_copy(update={"serve": other})
        for title, chosen, source in (
            ("engine with another chat template", templated, ["--artifact", str(found.artifact)]),
            ("engine that serves the unmerged base", settings, ["--model", subject.run.base_model]),
        ):
            named = ""
            with engine(chosen, source) as endpoint:
                try:
                    measure_served(chosen, endpoint, found, {})
                except ParityError as error:
                    named = f"{error.hop} ({error.check})"
            missed += not named.startswith("served")
            say(f"  {title:<46} planted in served    {'named: ' + named if named else 'NOT CAUGHT'}")
    return missed


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def main() -> int:
    """Measure, plant, and return how much was missed."""
    parser = argparse.ArgumentParser(description="What is served is what was trained.")
    parser.add_argument("--config", type=Path, action="append", metavar="FILE", help="settings of a trained model")
    parser.add_argument("--run", metavar="RUN_ID", action="append", help="run of each --config (the newest)")
    parser.add_argument("--home", type=Path, default=Path.cwd() / ".driftwheel" / "parity")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with Banking77's train.csv")
    parser.add_argument("--builds", type=int, default=60, help="clean builds of each model (60)")
    parser.add_argument("--engine", action=argparse.BooleanOptionalAction, default=True, help="measure endpoints too")
    parser.add_argument("--faults", action=argparse.BooleanOptionalAction, default=True, help="plant faults")
    arguments = parser.parse_args()
    paths = arguments.config or make_homes(arguments.home.resolve(), arguments.data)
    subjects = [subject_of(path, run) for path, run in zip(paths, arguments.run or [None] * len(paths), strict=True)]
    missed = 0
    for number, subject in enumerate(subjects):
        scheme = chosen_scheme(subject.settings.quantize).name
        say(f"{subject.settings.project}: {subject.run.id}, {subject.run.method}, {scheme}")
        if arguments.engine:
            missed += print_table(subject, with_faults=arguments.faults and number == 0)
    with workers() as pool:
        if arguments.faults:
            missed += plant_all(subjects[0], pool)
        for subject in subjects if arguments.builds else ():
            say(f"clean builds of {subject.settings.project}:")
            missed += build_clean(subject, pool, arguments.builds)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
