"""Let a retrain that waits for a person go on.

driftwheel approve DECISION_ID
"""

import argparse

from driftwheel.cli.command import add_common_arguments, opened, print_record
from driftwheel.controls import approve


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    parser.add_argument("id", help="id of the decision")


def main(arguments: argparse.Namespace) -> None:
    """Open the decision for the worker, and print it."""
    settings, ledger = opened(arguments)
    print_record(approve(ledger, settings.project, arguments.id), as_json=arguments.json)
