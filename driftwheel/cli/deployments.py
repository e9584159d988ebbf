"""List the newest deployments of a loop, one line each.

driftwheel deployments [--last N] [--json]
"""

import argparse

from driftwheel.cli.listing import Listed, add_list_arguments, print_list
from driftwheel.records.nouns import Deployment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_list_arguments(parser)


def main(arguments: argparse.Namespace) -> None:
    """Print the newest deployments."""
    print_list(arguments, Listed(record=Deployment, words=_words, command="driftwheel promote v1"))


def _words(deployment: Deployment) -> tuple[str, ...]:
    share = f"{deployment.share:.0%}"
    return deployment.id, deployment.alias, deployment.version_id, str(deployment.stage), share, deployment.reason
