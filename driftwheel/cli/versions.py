"""List the newest model versions of a loop, one line each.

driftwheel versions [--last N] [--json]
"""

import argparse

from driftwheel.cli.listing import Listed, add_list_arguments, print_list
from driftwheel.records.nouns import ModelVersion
from driftwheel.records.scorecard import headline


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_list_arguments(parser)


def main(arguments: argparse.Namespace) -> None:
    """Print the newest model versions."""
    print_list(arguments, Listed(record=ModelVersion, words=_words, command="driftwheel publish"))


def _words(version: ModelVersion) -> tuple[str, ...]:
    found = headline(version.scorecard)
    score = f"{found.text} {found.name}" if found else "not scored"
    return f"v{version.number}", version.id, str(version.status), score, version.verdict.reason or ""
