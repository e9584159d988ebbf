"""The dashboard as a process.

python -m dashboard --config driftwheel.yaml
"""

import argparse
import sys
from collections.abc import Sequence

import structlog

from dashboard.handover import hand_over
from dashboard.web_server import listen, serve
from driftwheel.cli.command import add_settings_arguments, open_ledger, settings_from
from driftwheel.cli.process import run_command

log = structlog.get_logger()


def run(arguments: argparse.Namespace) -> None:
    """Serve the dashboard until it is stopped."""
    settings = settings_from(arguments)
    hand_over(settings.path, arguments.overrides, needs_key=settings.dashboard.require_key)
    ledger = open_ledger(settings)
    listener = listen(settings.dashboard.host, settings.dashboard.port)
    host, port = listener.getsockname()[:2]
    log.info("dashboard is up", url=f"http://{host}:{port}")
    try:
        serve(settings.dashboard, ledger, settings.project, settings.root, listener)
    finally:
        ledger.close()


def main(argv: Sequence[str] | None = None, command: str = "python -m dashboard") -> int:
    """Parse the command line and run; `command` is what the user typed to get here."""
    parser = argparse.ArgumentParser(prog=command, description="Show the loop in a browser.")
    add_settings_arguments(parser)
    return run_command("dashboard", run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
