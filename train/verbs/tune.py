"""Search for the settings that train best.

python -m train tune --config driftwheel.yaml --trials 20
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from driftwheel.argument_types import whole
from driftwheel.cli.command import add_common_arguments, open_ledger, settings_from
from driftwheel.records.nouns import Dataset
from train.processes.process_tuning import tune_process
from train.tuning.search_report import as_text, write_picture
from train.tuning.tune import open_study, tune
from train.warm_start import starting_weights


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    parser.add_argument("--dataset", metavar="DATASET_ID", help="dataset to train on (the newest)")
    parser.add_argument("--trials", type=whole(1, 100_000), metavar="N", help="trials in all (tune.trials)")
    parser.add_argument("--picture", type=Path, metavar="FILE.html", help="draw the search into a file")


def main(arguments: argparse.Namespace) -> None:
    """Search, and print the best trial with the flags that use it."""
    tune_process()  # before a trial imports torch
    if arguments.trials is not None:
        arguments.overrides.append(f"tune.trials={arguments.trials}")
    settings = settings_from(arguments)
    ledger = open_ledger(settings)
    dataset_id = arguments.dataset or ledger.newest(Dataset, settings.project).id
    search = tune(starting_weights(settings, ledger), ledger, dataset_id)
    if arguments.picture:
        write_picture(open_study(settings, search.id), arguments.picture)
    sys.stdout.write((json.dumps(asdict(search), default=str) if arguments.json else as_text(search)) + "\n")
