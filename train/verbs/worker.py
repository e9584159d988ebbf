"""Take open retrain decisions and carry them through.

python -m train worker --config driftwheel.yaml
"""

import argparse
import os
import signal
from collections.abc import Callable

from driftwheel.cli.command import add_settings_arguments, open_ledger, settings_from
from train.processes.executor import LocalExecutor
from train.workflow import Worker, only_worker

INTERRUPTED = 130
"""What a shell reports for SIGINT: 128 and the signal's number."""


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
        run_until_stopped(worker, (lambda: worker.next_decision() is None) if arguments.once else (lambda: False))


def run_until_stopped(worker: Worker, should_stop: Callable[[], bool]) -> None:
    """Run a worker; Ctrl-C ends this process at once, in the middle of a step too."""
    before = signal.signal(signal.SIGINT, _end)
    try:
        worker.run(should_stop)
    finally:
        signal.signal(signal.SIGINT, before)


def _end(_number: int, _frame: object) -> None:
    # The thread of a heavy step waits for its child, for hours maybe, and Python would wait for the thread. So this
    # ends as a kill would, after which a worker resumes: the kernel ends the child with this process. It is done here,
    # because a KeyboardInterrupt that is raised in some library's callback is printed there and lost.
    os.write(2, b"stopped; a retrain that is under way goes on at its step when the worker starts again\n")
    os._exit(INTERRUPTED)
