"""Check what a loop keeps: the databases, what their rows name, and every byte of datasets and artifacts; or a backup.

driftwheel verify [BACKUP]
"""

import argparse
import json
import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from driftwheel.cli.command import add_common_arguments, opened
from driftwheel.errors import ArtifactError
from driftwheel.upkeep.restoring import checked_backup
from driftwheel.upkeep.verifying import Verified, verify_loop


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("backup", nargs="?", type=Path, metavar="BACKUP", help="check this backup, and not the loop")
    add_common_arguments(parser)


def main(arguments: argparse.Namespace) -> None:
    """Check, and print each fault; raises ArtifactError if there is one."""
    if arguments.backup is not None:
        files = len(checked_backup(arguments.backup).files)
        sys.stdout.write(json.dumps({"files": files}) if arguments.json else f"all {files} files are as they were\n")
        return
    settings, ledger = opened(arguments)
    with closing(ledger):
        found = verify_loop(ledger, settings.project, settings.root)
    _print(found, as_json=arguments.json)
    if found.faults:
        raise ArtifactError(f"{len(found.faults)} faults; see above, and put a backup back (`driftwheel restore`)")


def _print(found: Verified, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(asdict(found)) + "\n")
        return
    for fault in found.faults:
        sys.stdout.write(f"{fault.what}: {fault.reason}\n")
    sys.stdout.write(f"looked at {found.looked_at} databases and folders: {len(found.faults)} faults\n")
