"""Ask for a retrain; it waits for approval where the policy is manual.

driftwheel retrain --reason "new price list"
"""

import argparse

from driftwheel.cli.command import add_common_arguments, opened, print_record
from driftwheel.controls import request_retrain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    parser.add_argument("--reason", default="asked for on the command line", help="kept in the decision")


def main(arguments: argparse.Namespace) -> None:
    """Write the decision down and print it."""
    settings, ledger = opened(arguments)
    decision = request_retrain(ledger, settings.project, trigger="button", reason=arguments.reason)
    print_record(decision, as_json=arguments.json)
