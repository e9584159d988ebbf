"""Delete what a user, a key or a request left in the loop, and name the versions that learned from it.

driftwheel forget --user ID | --key ID | --request ID [--dry-run]
driftwheel forget --was ID
"""

import argparse
import json
import sys
from contextlib import closing
from dataclasses import asdict

from driftwheel.cli.command import add_common_arguments, opened
from driftwheel.errors import NotFoundError
from driftwheel.records.by_whom import me
from driftwheel.store.ledger import Ledger
from driftwheel.upkeep.forgetting import Target, forget
from driftwheel.upkeep.forgotten_record import Forgotten, was_forgotten


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    whom = parser.add_mutually_exclusive_group(required=True)
    whom.add_argument("--user", metavar="ID", help="the `user` of requests")
    whom.add_argument("--key", metavar="ID", help="an API key, PROJECT/NAME: what was asked with it, and what it said")
    whom.add_argument("--request", metavar="ID", help="one request, and those that repeat what was said in it")
    whom.add_argument("--was", metavar="ID", help="say which records prove that this one was forgotten")
    parser.add_argument("--dry-run", action="store_true", help="say what would be deleted, and delete nothing")
    help_text = "do not write the SQLite file anew, for which appends wait; its bytes may still hold deleted rows"
    parser.add_argument("--no-compact", action="store_true", help=help_text)
    parser.add_argument("--reason", default="", metavar="TEXT", help="why; it stands in the history")
    add_common_arguments(parser)


def main(arguments: argparse.Namespace) -> None:
    """Forget, and print what was done and what is left to do."""
    settings, ledger = opened(arguments)
    with closing(ledger):
        if arguments.was is not None:
            _print_proof(ledger, settings.project, arguments.was)
            return
        target = _target(arguments)
        by, dry_run = me(arguments.reason), arguments.dry_run
        compact = not arguments.no_compact
        found = forget(
            settings.traffic, ledger, settings.project, settings.root, target, by, dry_run=dry_run, compact=compact
        )
    if arguments.json:
        sys.stdout.write(json.dumps(asdict(found)) + "\n")
    else:
        sys.stdout.write(_told(found, dry_run=dry_run))


def _target(arguments: argparse.Namespace) -> Target:
    if arguments.user is not None:
        return Target(kind="user", name=arguments.user)
    if arguments.key is not None:
        return Target(kind="key", name=arguments.key)
    return Target(kind="request", name=arguments.request)


def _print_proof(ledger: Ledger, project: str, name: str) -> None:
    records = was_forgotten(ledger, project, name)
    if not records:
        raise NotFoundError(f"no record says that {name!r} was forgotten in project {project!r}")
    sys.stdout.write("".join(f"{record}\n" for record in records))


def _told(found: Forgotten, *, dry_run: bool) -> str:
    done = "would be deleted" if dry_run else "deleted"
    lines = [f"{found.requests} requests and {found.words} words about them {done}, in {found.files} files too"]
    lines += [f"{c.rows} rows of {c.id} {done}; without them it is {c.replaced_by}" for c in found.datasets]
    lines += [f"{id} learned from it, and cannot unlearn it: retrain, promote, and gc" for id in found.versions]
    lines += [f"export to make again or to delete: {path}" for path in found.exports]
    lines += [f"copy of the database to delete: {path}" for path in found.copies]
    lines += ["backups that were made before still hold it"]
    lines += [] if dry_run else [f"record: {found.id}"]
    return "".join(f"{line}\n" for line in lines)
