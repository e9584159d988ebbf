"""Delete what lies in the storage folder and nothing needs: merged weights, checkpoints, artifacts, reports, logs.

driftwheel gc [--dry-run] [--keep-days DAYS] [--store]
"""

import argparse
import json
import sys
from contextlib import closing
from dataclasses import asdict

from driftwheel.argument_types import number
from driftwheel.cli.command import add_common_arguments, opened
from driftwheel.files.version_files import collect_stored
from driftwheel.inert_text import inert
from driftwheel.upkeep.leftovers import KEEP_DAYS, Leftover, collect_leftovers

MIB = 1 << 20
MOST_DAYS = 36_500.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("--dry-run", action="store_true", help="print what would be deleted, and delete nothing")
    help_text = f"keep what is younger, whatever it is ({KEEP_DAYS:.0f})"
    parser.add_argument("--keep-days", type=number(0, MOST_DAYS), default=KEEP_DAYS, metavar="DAYS", help=help_text)
    help_text = "delete in storage.artifacts, too, what no published version of this database serves"
    parser.add_argument("--store", action="store_true", help=help_text)
    add_common_arguments(parser)


def main(arguments: argparse.Namespace) -> None:
    """Delete, and print what."""
    settings, ledger = opened(arguments)
    with closing(ledger):
        found = collect_leftovers(ledger, settings.root, keep_days=arguments.keep_days, dry_run=arguments.dry_run)
        stored = collect_stored(settings.storage, ledger, dry_run=arguments.dry_run) if arguments.store else None
    for leftover in found:
        sys.stdout.write((json.dumps(_facts(leftover)) if arguments.json else _line(leftover)) + "\n")
    done = "would be deleted" if arguments.dry_run else "deleted"
    if stored is not None:
        line = (
            json.dumps({"store": settings.storage.artifacts, **asdict(stored)})
            if arguments.json
            else (
                f"{stored.artifacts} artifacts, {stored.files} files, {stored.bytes / MIB:.1f} MiB in the store {done}"
            )
        )
        sys.stdout.write(line + "\n")
    if not arguments.json:
        total = sum(leftover.bytes for leftover in found) / MIB
        sys.stdout.write(f"{len(found)} files and folders, {total:.1f} MiB {done}\n")


def _facts(leftover: Leftover) -> dict[str, object]:
    return {"path": str(leftover.path), "bytes": leftover.bytes, "reason": leftover.reason}


def _line(leftover: Leftover) -> str:
    return f"{leftover.bytes / MIB:10.1f} MiB  {inert(str(leftover.path))}  ({leftover.reason})"
