"""Send a test message to everybody who is told of alarms, or show who that is.

driftwheel notify test|show
"""

import argparse
import json
import sys
from dataclasses import asdict

from driftwheel.cli.command import add_common_arguments, settings_from
from driftwheel.control.notifying import addresses, send_test, shown
from driftwheel.errors import ConflictError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's actions."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, act, help_text in (
        ("test", _test, "send a test message to each address of DRIFTWHEEL_NOTIFY"),
        ("show", _show, "show the addresses, without their passwords"),
    ):
        action = actions.add_parser(name, help=help_text, description=help_text)
        action.set_defaults(act=act)
        add_common_arguments(action)


def main(arguments: argparse.Namespace) -> None:
    """Run the action."""
    arguments.act(arguments)


def _test(arguments: argparse.Namespace) -> None:
    found = send_test(settings_from(arguments).project, addresses())
    for delivery in found:
        line = f"{'sent' if delivery.problem is None else 'FAILED'}  {delivery.to}  {delivery.problem or ''}".rstrip()
        sys.stdout.write((json.dumps(asdict(delivery)) if arguments.json else line) + "\n")
    failed = [delivery for delivery in found if delivery.problem is not None]
    if failed:
        raise ConflictError(f"{len(failed)} of {len(found)} addresses were not reached")


def _show(arguments: argparse.Namespace) -> None:
    for name in map(shown, addresses()):
        sys.stdout.write((json.dumps({"to": name}) if arguments.json else name) + "\n")
    if not addresses():
        sys.stderr.write("nobody is told of anything yet: DRIFTWHEEL_NOTIFY holds no address\n")
