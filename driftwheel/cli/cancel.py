"""End a retrain that waits or runs: its step is ended within seconds, and it counts as no failed candidate.

driftwheel cancel [DECISION_ID] [--reason "WHY"]
"""

import argparse

from driftwheel.cli.command import add_common_arguments, opened, print_record
from driftwheel.control.approvals import cancel, unfinished
from driftwheel.records.by_whom import me


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    parser.add_argument("id", nargs="?", metavar="DECISION_ID", help="id of the decision (the one that is under way)")
    parser.add_argument("--reason", default="", help="kept in the decision and in `driftwheel history`")


def main(arguments: argparse.Namespace) -> None:
    """Cancel the decision, and print it."""
    settings, ledger = opened(arguments)
    decision_id = arguments.id or unfinished(ledger, settings.project).id
    print_record(cancel(ledger, settings.project, decision_id, by=me(arguments.reason)), as_json=arguments.json)
