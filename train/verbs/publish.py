"""Merge, quantize, evaluate, judge and publish a run.

python -m train publish [--run ID]
"""

import argparse
from pathlib import Path

from driftwheel.cli.command import add_common_arguments, open_ledger, print_record, settings_from
from driftwheel.errors import NotFoundError
from driftwheel.records import TrainingRun
from train.publish import _build_artifact, evaluate_and_judge, publish, refuse_learned
from train.runs import newest_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    parser.add_argument("--run", metavar="ID", help="run to publish (the newest)")
    parser.add_argument("--artifact", type=Path, metavar="DIR", help="its servable folder (merges and quantizes)")
    parser.add_argument("--dataset", metavar="ID", help="dataset whose test split decides (the run's own)")
    parser.add_argument("--baseline", action=argparse.BooleanOptionalAction, default=None,
                        help="also score the base model (only if no version is live)")  # fmt: skip


def main(arguments: argparse.Namespace) -> None:
    """Publish a run and print its version."""
    settings = settings_from(arguments)
    ledger = open_ledger(settings)
    run = ledger.get(TrainingRun, arguments.run) if arguments.run else newest_run(ledger, settings.project)
    if arguments.artifact is not None and not arguments.artifact.is_dir():
        raise NotFoundError(f"no artifact at {arguments.artifact}; `driftwheel quantize --run {run.id}` writes one")
    refuse_learned(settings, ledger, run, arguments.dataset or run.dataset_id)
    artifact = _build_artifact(arguments, run.id)
    evaluation, verdict = evaluate_and_judge(
        settings,
        ledger,
        run_id=run.id,
        artifact=artifact,
        dataset_id=arguments.dataset,
        with_baseline=arguments.baseline,
    )
    version = publish(settings, ledger, run_id=run.id, artifact=artifact, evaluation=evaluation, verdict=verdict)
    print_record(version, as_json=arguments.json)
