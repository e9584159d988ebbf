"""Write a run's servable artifact.

python -m train quantize [--run ID]
"""

import argparse
import json
import sys

from driftwheel.cli.command import add_common_arguments, open_ledger, settings_from
from driftwheel.upkeep.storage_files import making
from train.runs import newest_run
from train.worker import build_artifact


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    parser.add_argument("--run", metavar="RUN_ID", help="training run to quantize (the newest)")


def main(arguments: argparse.Namespace) -> None:
    """Quantize and print the artifact's folder."""
    settings = settings_from(arguments)
    ledger = open_ledger(settings)
    run_id = arguments.run or newest_run(ledger, settings.project).id
    with making(settings.root):
        path = build_artifact(settings, ledger, run_id)
    sys.stdout.write((json.dumps({"path": str(path)}) if arguments.json else str(path)) + "\n")
