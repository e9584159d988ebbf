"""Shadow a version: ask it what users ask, send its answers to nobody, and report how many differ.

driftwheel shadow VERSION                copy live requests to it from now on, until --stop
driftwheel shadow VERSION --report       compare what it answered so far
driftwheel shadow VERSION --replay 500   ask it the last 500 logged requests, without a gateway
"""

import argparse
import json
import sys
from dataclasses import asdict

from driftwheel.cli.command import add_common_arguments, named_version, open_ledger, settings_from
from driftwheel.store.answer_form import label_field_of
from serve.shadow.flips import as_text
from serve.shadow.shadow import begin, replay, report, stop


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    parser.add_argument("version", metavar="VERSION", help="its id, or its short name such as v3")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--replay", type=_count, metavar="N", help="ask it the last N logged requests, now")
    what.add_argument("--report", action="store_true", help="compare what it has answered as a shadow")
    what.add_argument("--stop", action="store_true", help="copy no more requests")


def main(arguments: argparse.Namespace) -> None:
    """Shadow, report or replay, and print."""
    settings = settings_from(arguments)
    ledger = open_ledger(settings)
    version = named_version(ledger, settings.project, arguments.version)
    if arguments.stop:
        stop(ledger, version)
        sys.stdout.write(f"no more requests are copied to {version.id}\n")
    elif arguments.replay is not None or arguments.report:
        if arguments.replay is not None:
            flips = replay(settings, ledger, version, arguments.replay)
        else:
            label_field = label_field_of(settings.dataset, ledger, version.id)
            flips = report(ledger, settings.alias_key, version.id, label_field=label_field)
        sys.stdout.write((json.dumps(asdict(flips)) if arguments.json else as_text(flips)) + "\n")
    else:
        begin(settings.serve, ledger, settings.project, version)
        sys.stdout.write(f"live requests are copied to {version.id}; --report compares, --stop ends\n")


def _count(text: str) -> int:
    """Read a number of requests; argparse says what is wrong with another."""
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return count
