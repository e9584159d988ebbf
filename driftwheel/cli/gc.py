"""Delete what lies in the storage folder and nothing needs: merged weights, checkpoints, artifacts, reports, logs.

driftwheel gc [--dry-run] [--keep-days DAYS]
"""

import argparse
import json
import sys
from contextlib import closing

from driftwheel.argument_types import number
from driftwheel.cli.command import add_common_arguments, opened
from driftwheel.upkeep.leftovers import KEEP_DAYS, Leftover, collect_leftovers

MIB = 1 << 20
MOST_DAYS = 36_500.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("--dry-run", action="store_true", help="print what would be deleted, and delete nothing")
    help_text = f"keep what is younger, whatever it is ({KEEP_DAYS:.0f})"
    parser.add_argument("--keep-days", type=number(0, MOST_DAYS), default=KEEP_DAYS, metavar="DAYS", help=help_text)
    add_common_arguments(parser)


def main(arguments: argparse.Namespace) -> None:
    """Delete, and print what."""
    settings, ledger = opened(arguments)
    with closing(ledger):
        found = collect_leftovers(ledger, settings.root, keep_days=arguments.keep_days, dry_run=arguments.dry_run)
    for leftover in found:
        sys.stdout.write((json.dumps(_facts(leftover)) if arguments.json else _line(leftover)) + "\n")
    if not arguments.json:
        total = sum(leftover.bytes for leftover in found) / MIB
        done = "would be deleted" if arguments.dry_run else "deleted"
        sys.stdout.write(f"{len(found)} files and folders, {total:.1f} MiB {done}\n")


def _facts(leftover: Leftover) -> dict[str, object]:
    return {"path": str(leftover.path), "bytes": leftover.bytes, "reason": leftover.reason}


def _line(leftover: Leftover) -> str:
    return f"{leftover.bytes / MIB:10.1f} MiB  {leftover.path}  ({leftover.reason})"
