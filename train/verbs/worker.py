"""Take open retrain decisions and carry them through.

python -m train worker --config driftwheel.yaml
"""

import argparse

from driftwheel.cli.command import add_settings_arguments, open_ledger, settings_from
from train.processes.executor import LocalExecutor
from train.workflow import Worker, only_worker


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_settings_arguments(parser)
    parser.add_argument("--once", action="store_true", help="stop when no decision is open")


def main(arguments: argparse.Namespace) -> None:
    """Run the worker until it is stopped."""
    settings = settings_from(arguments)
    with only_worker(settings.root):
        ledger = open_ledger(settings)
        worker = Worker(settings, ledger, LocalExecutor())
        if arguments.once:
            worker.run(lambda: worker.next_decision() is None)
        else:
            worker.run(lambda: False)
