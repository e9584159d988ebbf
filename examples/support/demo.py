"""The demo: runs the whole loop on real parts with one command, and prints what was measured.

    driftwheel demo [--text] [--keep] [--home DIR]

Base model -> dataset -> fine-tune -> merge -> quantize -> evaluate -> publish -> vLLM -> traffic -> drift ->
decision -> dataset -> retrain -> gate -> swap under load -> recovered -> bad candidate refused -> rollback.
Everything goes through the verbs and the HTTP interface that a user has.
"""

import argparse
import asyncio
import os
import secrets
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from driftwheel.callers.api_keys import KEYS_VARIABLE
from driftwheel.cli.command import open_ledger
from driftwheel.cli.process import run_command
from driftwheel.machine.processor import core_count
from examples.support.claims import Measured
from examples.support.demo_loop import Demo, running
from examples.support.demo_steps import first_version, turn
from examples.support.demo_tasks import SUPPORT, TEXT
from examples.support.load import Client
from examples.support.prepare import prepare


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the demo's arguments."""
    parser.add_argument("--keep", action="store_true", help="leave the loop and its dashboard running at the end")
    parser.add_argument("--text", action="store_true", help="a task of free text, with thumbs and few corrections")
    parser.add_argument("--home", type=Path, help="folder for the demo's files (a new one by default)")


def run(arguments: argparse.Namespace) -> None:
    """Turn the circle and exit with its status."""
    console = Console(stderr=False, soft_wrap=False)
    task = TEXT if arguments.text else SUPPORT
    home = arguments.home or Path.cwd() / ".driftwheel" / f"demo-{time.strftime('%Y%m%dT%H%M%S')}"
    measured = Measured(load_before=os.getloadavg()[0], cores=core_count())
    if measured.other_work:
        console.print(f"this machine is the reason if all takes longer: it does other work, {measured.other_work}")
    started_at = time.monotonic()
    console.rule("[bold]set-up: base model and data", align="left")
    settings = prepare(console, home.resolve(), task)
    console.print(f"set-up took {(time.monotonic() - started_at) / 60:.1f} minutes")
    os.environ.setdefault(KEYS_VARIABLE, secrets.token_urlsafe(24))
    url = f"http://{settings.serve.host}:{settings.serve.port}"
    client = Client(url, os.environ[KEYS_VARIABLE], settings.serve.alias, task)
    demo = Demo(console, settings, open_ledger(settings), client, task, measured=measured)
    client.guests = [demo.verb("keys", "create", f"guest-{n}")["key"] for n in range(task.speaking.guests)]
    demo.measured.v1 = first_version(demo).id
    with running(settings) as up:

        async def keep() -> None:
            console.print(f"dashboard: http://{settings.dashboard.host}:{settings.dashboard.port}")
            while arguments.keep and up.poll() is None:
                await asyncio.sleep(1)

        status = asyncio.run(turn(demo, keep))
    sys.exit(status)


def main(argv: Sequence[str] | None = None, command: str = "driftwheel demo") -> int:
    """Parse the arguments and run the demo; `command` is what the user typed to get here."""
    parser = argparse.ArgumentParser(prog=command, description="Turn the whole circle on this machine.")
    add_arguments(parser)
    return run_command("demo", run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
