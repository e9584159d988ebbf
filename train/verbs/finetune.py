"""Fine-tune the base model on a Dataset.

python -m train finetune [--dataset ID]
"""

import argparse
import json
import sys
from dataclasses import asdict

from driftwheel.cli.command import add_common_arguments, open_ledger, print_record, settings_from
from driftwheel.errors import ConfigError
from driftwheel.records.dataset_report import MadeFrom
from driftwheel.records.nouns import Dataset
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from train.data.tokens.made_from import changed_since, made_from, newest_built, warning
from train.dataset import build_dataset
from train.finetune import finetune
from train.preference.prefer import given_preferences, prefer
from train.processes.process_tuning import tune_process
from train.tuning.cross_validate import as_text, cross_validate, earlier_results
from train.warm_start import starting_weights


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    parser.add_argument("--dataset", metavar="DATASET_ID", help="dataset to train on (the newest)")
    parser.add_argument("--folds", type=int, metavar="K", help="cross-validate the settings on K folds instead")


def main(arguments: argparse.Namespace) -> None:
    """Fine-tune and print the run, or cross-validate and print the losses; preferences build their own Dataset."""
    tune_process()  # before a launcher imports torch
    settings = settings_from(arguments)
    ledger = open_ledger(settings)
    now = made_from(settings.dataset, settings.train.learn, {} if arguments.dataset else settings.named_paths())
    if settings.train.objective != "sft" and arguments.dataset is None:
        if arguments.folds is not None:
            raise ConfigError("--folds cross-validates train.objective sft only; leave one of them out")
        given = given_preferences(ledger, settings.project, settings.train.objective)
        if given and given.report.made_from:
            sys.stderr.write(warning(given, changed_since(given.report.made_from, now)))
        run = finetune(settings, ledger, given.id) if given else prefer(settings, ledger)
        print_record(run, as_json=arguments.json)
        return
    dataset_id = (
        arguments.dataset or (_newest(ledger, settings.project, now) or _told(build_dataset(settings, ledger))).id
    )
    settings = starting_weights(settings, ledger)
    if arguments.folds is not None:
        _cross_validate(settings, ledger, dataset_id, arguments)
        return
    print_record(finetune(settings, ledger, dataset_id), as_json=arguments.json)


def _newest(ledger: Ledger, project: str, now: MadeFrom) -> Dataset | None:
    """Return the Dataset of the files and settings as they are, else the newest, and say what has changed since."""
    dataset, changes = newest_built(ledger, project, now)
    if dataset is not None:
        sys.stderr.write(warning(dataset, changes))
    return dataset


def _told(dataset: Dataset) -> Dataset:
    """Say on stderr what the first Dataset, which nobody built by hand, holds."""
    rows = f"{dataset.train_rows} rows to train, {dataset.validation_rows} to validate, {dataset.test_rows} to test"
    sys.stderr.write(f"built {dataset.id} of dataset.sources: {rows}\n")
    return dataset


def _cross_validate(settings: Settings, ledger: Ledger, dataset_id: str, arguments: argparse.Namespace) -> None:
    if arguments.folds < 2:
        raise ConfigError(f"--folds {arguments.folds} holds nothing out; give at least 2")
    result = cross_validate(settings, ledger, dataset_id, arguments.folds)
    others = earlier_results(settings.root, settings.dataset.seed, dataset_id, arguments.folds, settings.train.learn)
    sys.stdout.write((json.dumps(asdict(result)) if arguments.json else as_text(settings.path, result, others)) + "\n")
