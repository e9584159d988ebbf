"""Stop retraining: the worker looks at this switch before every step, and it survives restarts.

driftwheel pause
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
    """Set the switch."""
    settings, ledger = opened(arguments)
    set_paused(ledger, settings.project, True)
    text = "retraining is paused; `driftwheel resume` continues it"
    sys.stdout.write((json.dumps({"is_paused": True}) if arguments.json else text) + "\n")
