"""Copy a loop into a new folder while it runs: databases, datasets, runs, artifacts, reports, with a hash of each file.

driftwheel backup TO
"""

import argparse
import json
import sys
from contextlib import closing
from pathlib import Path

from driftwheel.cli.command import add_common_arguments, opened
from driftwheel.upkeep.backup import write_backup


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("to", type=Path, metavar="TO", help="a folder that is not there yet")
    add_common_arguments(parser)


def main(arguments: argparse.Namespace) -> None:
    """Write the backup, and say how to put it back."""
    settings, ledger = opened(arguments)
    with closing(ledger):
        done = write_backup(settings.storage, ledger, settings.root, arguments.to)
    if arguments.json:
        facts = {"path": str(done.path), "files": done.files, "databases": done.databases}
        sys.stdout.write(json.dumps(facts) + "\n")
        return
    sys.stdout.write(f"wrote {', '.join(done.databases)} and {done.files} files to {done.path}\n")
    sys.stdout.write("settings and data files are yours to keep; `driftwheel restore FROM` puts it back\n")
