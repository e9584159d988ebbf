"""Run the gateway, its engines, and the reconciler that moves the alias.

python -m serve gateway --config driftwheel.yaml
"""

import argparse

import uvloop

from driftwheel.cli.command import add_settings_arguments, settings_from
from serve.server import serve


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_settings_arguments(parser)


def main(arguments: argparse.Namespace) -> None:
    """Serve until SIGINT or SIGTERM; then finish what is in flight and stop the engines."""
    uvloop.run(serve(settings_from(arguments)))
