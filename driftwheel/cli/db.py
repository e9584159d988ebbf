"""Show and upgrade the schema of the ledger's database.

driftwheel db status|upgrade
"""

import argparse
import json
import sys
from dataclasses import asdict

from driftwheel.cli.command import add_common_arguments, settings_from
from driftwheel.store.migrations import SchemaStatus, Standing, look_at, upgrade_database

MEANINGS = {
    Standing.EMPTY: "has no tables yet; the first program that opens it makes them",
    Standing.UNNUMBERED: "was made before revisions were numbered; `driftwheel db upgrade` adopts it",
    Standing.OLDER: "is older than this driftwheel; `driftwheel db upgrade` brings it up to date",
    Standing.CURRENT: "is up to date",
    Standing.NEWER: "was made by a newer driftwheel; upgrade driftwheel",
    Standing.FOREIGN: "holds the tables of another program",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's actions, each with its arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, act, help_text in (
        ("status", _status, "say which revision the database is at; changes nothing"),
        ("upgrade", _upgrade, "bring an older database to the newest revision; a SQLite file is copied first"),
    ):
        action = actions.add_parser(name, help=help_text, description=help_text)
        action.set_defaults(act=act)
        add_common_arguments(action)


def main(arguments: argparse.Namespace) -> None:
    """Run the action."""
    arguments.act(arguments)


def _status(arguments: argparse.Namespace) -> None:
    address, status, found = look_at(settings_from(arguments).database_url)
    if arguments.json:
        sys.stdout.write(json.dumps({"ledger": address, **asdict(status), "differences": found}) + "\n")
        return
    sys.stdout.write(f"{address}: {_sentence(status)}\n")
    for difference in found:
        sys.stdout.write(f"differs from the records: {difference}\n")


def _upgrade(arguments: argparse.Namespace) -> None:
    settings = settings_from(arguments)
    address, done = upgrade_database(settings.database_url, settings.root)
    before, after = (done.before.revision, done.after.revision) if done else (None, None)
    backup = str(done.backup_path) if done and done.backup_path else None
    if arguments.json:
        facts = {"ledger": address, "is_upgraded": done is not None, "old": before, "new": after, "backup": backup}
        sys.stdout.write(json.dumps(facts) + "\n")
    elif done is None:
        sys.stdout.write(f"{address}: nothing to do, it is up to date\n")
    else:
        kept = f"; the file as it was: {backup}" if backup else ""
        sys.stdout.write(f"{address}: upgraded from revision {before} to {after}{kept}\n")


def _sentence(status: SchemaStatus) -> str:
    return f"revision {status.revision} of {status.newest}; it {MEANINGS[status.standing]}"
