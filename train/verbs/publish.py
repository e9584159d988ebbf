"""Merge, quantize, evaluate, judge and publish a run.

python -m train publish [--run ID]
"""

import argparse
import getpass
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from driftwheel.cli.command import add_common_arguments, open_ledger, print_record, settings_from
from driftwheel.errors import DriftwheelError, NotFoundError
from driftwheel.identity import utc_now
from driftwheel.machine.child_secrets import for_stage
from driftwheel.records.gate_verdict import Override
from driftwheel.records.nouns import ModelVersion, TrainingRun
from driftwheel.store.alias import live_version
from driftwheel.upkeep.storage_files import making
from train.publish import refuse_learned
from train.retrain_state import Job, Progress
from train.runs import newest_run
from train.worker import run_steps


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    parser.add_argument("--run", metavar="ID", help="run to publish (the newest)")
    parser.add_argument("--artifact", type=Path, metavar="DIR", help="its servable folder (merges and quantizes)")
    parser.add_argument("--dataset", metavar="ID", help="dataset whose test split decides (the run's own)")
    parser.add_argument(
        "--baseline",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="also score the base model (only if no version is live)",
    )
    parser.add_argument(
        "--override", type=_reason, metavar="REASON", help="publish it whatever the gate says; who and why is kept"
    )


def _reason(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("say why: the reason stands in the version's verdict and card")
    return text.strip()


def main(arguments: argparse.Namespace) -> None:
    """Publish a run and print its version."""
    settings = settings_from(arguments)
    ledger = open_ledger(settings)
    project = settings.project
    run = ledger.get(TrainingRun, arguments.run, project=project) if arguments.run else newest_run(ledger, project)
    if arguments.artifact is not None and not arguments.artifact.is_dir():
        raise NotFoundError(f"no artifact at {arguments.artifact}; `driftwheel quantize --run {run.id}` writes one")
    dataset_id = arguments.dataset or run.dataset_id
    refuse_learned(settings.dataset, ledger, run, dataset_id)
    given = [] if arguments.artifact is None else ["--artifact", str(arguments.artifact)]
    argv = settings.child_command("train", "parity", "--run", run.id, "--json", *given)
    is_first = live_version(ledger, settings.project, settings.serve.alias) is None
    override = arguments.override and Override(
        by=f"person:{getpass.getuser()}", at=utc_now().isoformat(timespec="seconds"), reason=arguments.override
    )
    with_baseline = is_first if arguments.baseline is None else arguments.baseline
    job = Job(settings, ledger, with_baseline=with_baseline, override=override)
    with making(settings.root):
        artifact = _build(argv, settings.child_environment(), run.id)
        made = Progress(run_id=run.id, dataset_id=dataset_id, artifact=str(artifact))
        version_id = run_steps(job, made, "evaluate", "publish_version").need("version_id")
    print_record(ledger.get(ModelVersion, version_id), as_json=arguments.json)


def _build(argv: list[str], environment: Mapping[str, str], run_id: str) -> Path:
    """Merge, quantize and compare in a child of its own, so that its memory returns before the engine starts."""
    done = subprocess.run(
        argv, stdout=subprocess.PIPE, text=True, check=False, env=for_stage(os.environ) | dict(environment)
    )
    if done.returncode != 0:
        raise DriftwheelError(f"`train parity` failed for {run_id}; its message stands above")
    return Path(json.loads(done.stdout.strip().split("\n")[-1])["path"])
