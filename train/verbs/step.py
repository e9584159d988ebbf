"""Run one step of a retrain: the worker starts this as a child for each heavy step.

python -m train step merge '{"run_id": "run_..."}'
"""

import argparse
import json
import sys

from driftwheel.cli.command import add_settings_arguments, open_ledger, settings_from
from driftwheel.errors import StorageError
from driftwheel.records.json_form import as_json, from_json
from train.processes.executor import TRY_AGAIN
from train.retrain_state import Job, Progress
from train.worker import STEPS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_settings_arguments(parser)
    parser.add_argument("name", choices=[step.name for step in STEPS], help="which step")
    parser.add_argument("--decision", metavar="ID", help="the retrain's id")
    parser.add_argument("made", help="what the steps before it made, as JSON")


def main(arguments: argparse.Namespace) -> None:
    """Run the step and print what it adds; the exit status tells the worker whether it may be tried again."""
    settings = settings_from(arguments)
    step = next(step for step in STEPS if step.name == arguments.name)
    try:
        job = Job(settings, open_ledger(settings), arguments.decision).planned()
        added = step.run(job, from_json(arguments.made, Progress))
    except StorageError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(TRY_AGAIN) from error
    sys.stdout.write(json.dumps(as_json(added), ensure_ascii=False) + "\n")
    sys.stdout.flush()
