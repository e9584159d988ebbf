"""Let a retrain that waits for a person go on, or what it made go live.

driftwheel approve [DECISION_ID] [--reason "WHY"]
"""

import argparse

from driftwheel.cli.command import add_common_arguments, opened, print_record
from driftwheel.control.approvals import approve, waiting
from driftwheel.records.by_whom import me


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    parser.add_argument("id", nargs="?", metavar="DECISION_ID", help="id of the decision (the one that waits)")
    parser.add_argument("--reason", default="", help="kept in `driftwheel history`")


def main(arguments: argparse.Namespace) -> None:
    """Settle the decision, and print it."""
    settings, ledger = opened(arguments)
    decision_id = arguments.id or waiting(ledger, settings.project).id
    print_record(approve(ledger, settings.project, decision_id, by=me(arguments.reason)), as_json=arguments.json)
