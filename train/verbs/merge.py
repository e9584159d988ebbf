"""Merge a run's adapter into its base model.

python -m train merge [--run ID]
"""

import argparse
import json
import sys

from driftwheel.cli.command import add_common_arguments, open_ledger, print_record, settings_from
from driftwheel.upkeep.storage_files import making
from train.merge import merge
from train.runs import newest_run
from train.weights.ensemble import WAYS, ensemble


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    parser.add_argument("--run", metavar="RUN_ID", help="training run to merge (the newest)")
    parser.add_argument("--runs", nargs="+", metavar="RUN_ID", help="combine several runs into a new one instead")
    parser.add_argument("--method", default="linear", choices=WAYS, help="how to combine them (linear)")
    parser.add_argument("--weights", nargs="+", type=float, default=[], metavar="W", help="their shares (equal)")
    parser.add_argument("--density", type=float, default=0.5, metavar="D", help="share of changes to keep (0.5)")


def main(arguments: argparse.Namespace) -> None:
    """Merge and print the folder, or combine runs and print the new one."""
    settings = settings_from(arguments)
    ledger = open_ledger(settings)
    if arguments.runs:
        with making(settings.root):
            run = ensemble(
                settings,
                ledger,
                arguments.runs,
                way=arguments.method,
                weights=arguments.weights,
                density=arguments.density,
            )
            merge(settings, ledger, run.id)
        print_record(run, as_json=arguments.json)
        return
    run_id = arguments.run or newest_run(ledger, settings.project).id
    with making(settings.root):
        path = merge(settings, ledger, run_id)
    sys.stdout.write((json.dumps({"path": str(path)}) if arguments.json else str(path)) + "\n")
