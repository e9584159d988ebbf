"""Try prompts on a version's model, and publish one as a version of its own.

python -m train prompt try|publish FILE
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from driftwheel.cli.command import (
    add_common_arguments,
    named_version,
    open_ledger,
    print_json,
    print_record,
    settings_from,
)
from driftwheel.errors import ConfigError
from driftwheel.records.json_form import as_json
from driftwheel.records.nouns import Dataset, ModelVersion
from driftwheel.store.alias import get_alias
from driftwheel.upkeep.storage_files import making
from train.evaluation.prompt_trial import Trial, refuse_shown, try_prompts
from train.prompts.prompt_file import Prompt, read_prompt
from train.prompts.prompted import write_prompted
from train.retrain_state import Job, Progress
from train.verdict.prompt_advice import advice, newest_retrain
from train.verdict.verdict_words import amount, points
from train.worker import run_steps


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("action", choices=["try", "publish"])
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="a text file of instructions, or JSON or YAML with `instructions` and `examples`",
    )
    parser.add_argument("--version", metavar="VERSION", help="whose model is asked (the one that is live)")
    parser.add_argument("--dataset", metavar="ID", help="whose rows are asked (the version's own)")
    add_common_arguments(parser)


def main(arguments: argparse.Namespace) -> None:
    """Run the action."""
    settings = settings_from(arguments)
    ledger = open_ledger(settings)
    prompts = {str(path): read_prompt(path) for path in arguments.files}
    version = named_version(
        ledger, settings.project, arguments.version or get_alias(ledger, *settings.alias_key).version_id
    )
    dataset = ledger.get(Dataset, arguments.dataset or version.dataset_id, project=settings.project)
    if arguments.action == "try":
        trials = try_prompts(settings, dataset, version, prompts)
        _print_trials(trials, advice(trials, newest_retrain(ledger, settings.project)), as_json=arguments.json)
        return
    if len(prompts) != 1:
        raise ConfigError("publish takes one prompt; `driftwheel prompt try` compares several")
    with making(settings.root):
        published = publish_prompt(Job(settings, ledger), dataset, version, prompts)
    print_record(published, as_json=arguments.json)


def publish_prompt(job: Job, dataset: Dataset, version: ModelVersion, prompts: Mapping[str, Prompt]) -> ModelVersion:
    """Put a version's model behind a prompt, evaluate it, let the gate judge it, and record it as a version."""
    refuse_shown(job.settings.dataset, dataset, prompts)
    artifact = write_prompted(job.settings.root, version, next(iter(prompts.values())))
    made = Progress(run_id=version.run_id, dataset_id=dataset.id, artifact=str(artifact))
    done = run_steps(job, made, "evaluate", "publish_version")
    return job.ledger.get(ModelVersion, done.need("version_id"))


def _print_trials(trials: Sequence[Trial], advised: str, *, as_json: bool) -> None:
    if as_json:
        for trial in trials:
            print_json(_facts(trial))
        return
    table = Table("prompt", "on validation rows", "beside no prompt", "tokens asked", "median seconds")
    for trial in trials:
        table.add_row(Text(trial.prompt), *_cells(trial))
    console = Console()
    console.print(table)
    console.print(Text(advised))
    console.print("These rows choose; `driftwheel prompt publish FILE` lets the gate judge one on the test rows.")


def _cells(trial: Trial) -> list[str]:
    if trial.note is not None:
        return [f"not asked: {trial.note}", "", "", ""]
    scores, outcome = trial.scores, trial.outcome
    beside = ""
    if trial.difference is not None and trial.interval is not None:
        low, high = trial.interval
        reach = f"[{points(low, signed=True)}, {points(high, signed=True)}]"
        beside = f"{points(trial.difference, signed=True)} {reach}"
    return [
        "no grade" if outcome is None else f"{amount(outcome, trial.criterion)} of {scores.items} rows",
        beside,
        "" if scores.prompt_tokens_mean is None else f"{scores.prompt_tokens_mean:.0f}",
        "" if scores.latency_p50_seconds is None else f"{scores.latency_p50_seconds:.2f}",
    ]


def _facts(trial: Trial) -> dict[str, object]:
    scores = trial.scores
    return {
        "prompt": trial.prompt,
        "criterion": trial.criterion,
        "outcome": trial.outcome,
        "items": scores.items,
        "unanswered": scores.unanswered,
        "difference": trial.difference,
        "interval": as_json(trial.interval),
        "prompt_tokens_mean": scores.prompt_tokens_mean,
        "latency_p50_seconds": scores.latency_p50_seconds,
        "note": trial.note,
    }
