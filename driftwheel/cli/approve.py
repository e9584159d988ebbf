"""Let a retrain that waits for a person go on.

driftwheel approve [DECISION_ID]
"""

import argparse

from driftwheel.approvals import approve, waiting
from driftwheel.cli.command import add_common_arguments, opened, print_record


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    parser.add_argument("id", nargs="?", metavar="DECISION_ID", help="id of the decision (the one that waits)")


def main(arguments: argparse.Namespace) -> None:
    """Open the decision for the worker, and print it."""
    settings, ledger = opened(arguments)
    decision_id = arguments.id or waiting(ledger, settings.project).id
    print_record(approve(ledger, settings.project, decision_id), as_json=arguments.json)
