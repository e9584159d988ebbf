"""Continue the retraining that `driftwheel pause` stopped.

driftwheel resume
"""

import argparse
import json
import sys

from driftwheel.cli.command import add_common_arguments, opened
from driftwheel.control.controls import set_paused


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)


def main(arguments: argparse.Namespace) -> None:
    """Clear the switch."""
    settings, ledger = opened(arguments)
    set_paused(ledger, settings.project, False)
    text = "retraining goes on"
    sys.stdout.write((json.dumps({"is_paused": False}) if arguments.json else text) + "\n")
