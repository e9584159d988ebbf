"""List the newest retrain decisions of a loop, one line each.

driftwheel decisions [--last N] [--json]
"""

import argparse

from driftwheel.cli.listing import Listed, add_list_arguments, print_list
from driftwheel.records.nouns import RetrainDecision


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_list_arguments(parser)


def main(arguments: argparse.Namespace) -> None:
    """Print the newest retrain decisions."""
    print_list(
        arguments,
        Listed(
            record=RetrainDecision, words=_words, command="driftwheel check (the monitor decides at each full window)"
        ),
    )


def _words(decision: RetrainDecision) -> tuple[str, ...]:
    status = str(decision.status).replace("_", " ")
    return decision.id, str(decision.verdict), status, decision.trigger, "; ".join(decision.reasons)
