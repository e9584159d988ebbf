"""List the newest training runs of a loop, one line each.

driftwheel runs [--last N] [--json]
"""

import argparse

from driftwheel.cli.listing import Listed, add_list_arguments, print_list
from driftwheel.records.nouns import TrainingRun


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_list_arguments(parser)


def main(arguments: argparse.Namespace) -> None:
    """Print the newest training runs."""
    print_list(arguments, Listed(record=TrainingRun, words=_words, command="driftwheel train"))


def _words(run: TrainingRun) -> tuple[str, ...]:
    loss = run.metrics.eval_loss
    return run.id, str(run.status), run.method, f"loss {loss:.4g}" if loss is not None else "", run.error or ""
