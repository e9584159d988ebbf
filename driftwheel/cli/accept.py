"""Accept what has changed as the new normal: later traffic is held against the newest windows, and the lamp goes out.

driftwheel accept [--windows N] [--reason "WHY"]
driftwheel accept --take-back
"""

import argparse
import sys

from driftwheel.argument_types import whole
from driftwheel.cli.command import add_common_arguments, opened, print_record
from driftwheel.records.by_whom import me
from driftwheel.traffic.new_normal import accept, take_back

MOST_WINDOWS = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--windows",
        type=whole(1, MOST_WINDOWS),
        metavar="N",
        help="so many of the newest windows are normal (those in a row that were over their threshold)",
    )
    which.add_argument("--take-back", action="store_true", help="compare again as before the first accept")
    parser.add_argument("--reason", default="", help="kept in `driftwheel history`")


def main(arguments: argparse.Namespace) -> None:
    """Write down what is normal, and print it."""
    settings, ledger = opened(arguments)
    by = me(arguments.reason)
    if arguments.take_back:
        accepted = take_back(ledger, settings.alias_key, by=by)
        sys.stderr.write("taken back: the next window is compared with what the version was compared with at first\n")
    else:
        accepted = accept(settings.monitor, ledger, settings.alias_key, windows=arguments.windows, by=by)
        sys.stderr.write("the next window is compared with these; quality and engine are judged as before\n")
    print_record(accepted, as_json=arguments.json)
