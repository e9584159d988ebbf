"""Put a backup back, here or as another storage folder; every byte is checked, and nothing is overwritten.

driftwheel restore FROM [--to FOLDER]
"""

import argparse
import json
import sys
from pathlib import Path

from driftwheel.cli.command import add_common_arguments, settings_from
from driftwheel.upkeep.restoring import restore_backup


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("source", type=Path, metavar="FROM", help="a folder that `driftwheel backup` wrote")
    help_text = "storage folder to make, with its ledger in a file; without, storage.root and storage.database_url"
    parser.add_argument("--to", type=Path, metavar="FOLDER", help=help_text)
    add_common_arguments(parser)


def main(arguments: argparse.Namespace) -> None:
    """Restore, and say what to set."""
    settings = settings_from(arguments)
    is_elsewhere = arguments.to is not None
    root = arguments.to.absolute() if is_elsewhere else settings.root
    url = None if is_elsewhere or settings.storage.database_url is None else settings.database_url
    done = restore_backup(arguments.source, root, url)
    if arguments.json:
        facts = {"root": str(done.root), "files": done.files, "ledger": done.database}
        sys.stdout.write(json.dumps(facts) + "\n")
        return
    sys.stdout.write(f"restored {done.files} files to {done.root}, the ledger to {done.database}\n")
    if is_elsewhere:
        sys.stdout.write(f"to use it: set storage.root to {done.root} and storage.database_url to null\n")
