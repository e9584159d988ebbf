"""Make a published version live, all at once or by a canary.

driftwheel promote v3 --canary 0.1 --canary 0.5
"""

import argparse

from driftwheel.cli.command import (
    add_common_arguments,
    add_wait_argument,
    named_version,
    opened,
    print_when_served,
)
from driftwheel.control import controls
from driftwheel.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    add_wait_argument(parser)
    parser.add_argument("id", help="version: its id, or v3")
    way = parser.add_mutually_exclusive_group()
    way.add_argument(
        "--canary",
        type=float,
        action="append",
        metavar="SHARE",
        help="first this share of the requests, such as 0.1; may be repeated",
    )
    way.add_argument("--direct", action="store_const", const=[], dest="canary", help="all at once")


def main(arguments: argparse.Namespace) -> None:
    """Move the alias and print it; raises ConfigError for a share that is none."""
    settings, ledger = opened(arguments)
    shares = arguments.canary
    if shares is not None and not all(0 < share < 1 for share in shares):
        raise ConfigError(f"--canary {shares} must be shares above 0 and below 1, such as 0.1 0.5")
    version = named_version(ledger, settings.project, arguments.id)
    alias = controls.promote(ledger, settings.alias_key, version.id, canary_shares=shares)
    print_when_served(arguments, settings.serve, ledger, alias)
