"""The dashboard as a process.

python -m dashboard --config driftwheel.yaml
"""

import argparse
import os
import sys
from collections.abc import Sequence

import structlog

from dashboard.web_server import listen, serve
from driftwheel.cli.command import add_common_arguments, open_ledger, settings_from
from driftwheel.cli.process import run_command

CONFIG_VARIABLE = "DRIFTWHEEL_CONFIG"
OVERRIDES_VARIABLE = "DRIFTWHEEL_OVERRIDES"
log = structlog.get_logger()


def run(arguments: argparse.Namespace) -> None:
    """Serve the dashboard until it is stopped."""
    settings = settings_from(arguments)
    # The pages run inside Streamlit's own threads: the environment is how they learn which loop to show.
    os.environ[CONFIG_VARIABLE] = str(settings.path)
    os.environ[OVERRIDES_VARIABLE] = "\n".join(arguments.overrides)
    ledger = open_ledger(settings)
    listener = listen(settings.dashboard.host, settings.dashboard.port)
    host, port = listener.getsockname()[:2]
    log.info("dashboard is up", url=f"http://{host}:{port}")
    try:
        serve(ledger, settings.project, settings.root, listener)
    finally:
        ledger.close()


def main(argv: Sequence[str] | None = None, command: str = "python -m dashboard") -> int:
    """Parse the command line and run; `command` is what the user typed to get here."""
    parser = argparse.ArgumentParser(prog=command, description="Show the loop in a browser.")
    add_common_arguments(parser)
    return run_command("dashboard", run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
