"""Make the previous version live again, at once for all requests.

driftwheel rollback
"""

import argparse

from driftwheel import controls
from driftwheel.cli.command import add_common_arguments, add_wait_argument, opened, print_when_served


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    add_wait_argument(parser)


def main(arguments: argparse.Namespace) -> None:
    """Move the alias back and print it."""
    settings, ledger = opened(arguments)
    print_when_served(arguments, settings.serve, ledger, controls.rollback(ledger, settings.alias_key))
