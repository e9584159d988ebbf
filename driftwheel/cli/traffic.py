"""Look at the logged requests, export them into a file, or delete those that are too old or too many.

driftwheel traffic show|export|prune --config driftwheel.yaml

One file for three actions: they are one verb, and share its words.
"""

import argparse
import json
import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from driftwheel.argument_types import moment
from driftwheel.cli.command import add_common_arguments, open_ledger, plain, print_record, settings_from
from driftwheel.errors import ConfigError
from driftwheel.identity import utc_now
from driftwheel.records.nouns import Traffic
from driftwheel.traffic import retention
from driftwheel.traffic.export import export_traffic, note_export


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's actions, each with its arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    help_text = "how much there is, or one request"
    showing = actions.add_parser("show", help=help_text, description=help_text)
    showing.set_defaults(act=show)
    showing.add_argument("--id", metavar="REQUEST_ID", help="show this request")
    help_text = "write the rows into a JSONL or Parquet file, oldest first"
    exporting = actions.add_parser("export", help=help_text, description=help_text)
    exporting.set_defaults(act=export)
    exporting.add_argument("file", type=Path, metavar="FILE", help="a name that ends in .jsonl or .parquet")
    since_help = "only rows from then on, such as 2026-01-31"
    exporting.add_argument("--since", type=moment, metavar="TIME", help=since_help)
    exporting.add_argument("--labelled", action="store_true", help="only rows that people labelled")
    help_text = "delete now what traffic.keep_days and traffic.keep_mib let go; the gateway does so by itself"
    pruning = actions.add_parser("prune", help=help_text, description=help_text)
    pruning.set_defaults(act=prune)
    for action in (showing, exporting, pruning):
        add_common_arguments(action)


def main(arguments: argparse.Namespace) -> None:
    """Run the action."""
    arguments.act(arguments)


def show(arguments: argparse.Namespace) -> None:
    """Print how much traffic there is, or one request."""
    settings = settings_from(arguments)
    with closing(open_ledger(settings)) as ledger:
        if arguments.id:
            print_record(ledger.get(Traffic, arguments.id, project=settings.project), as_json=arguments.json)
            return
        found = retention.volume(settings.monitor, ledger, settings.alias_key)
    if arguments.json:
        sys.stdout.write(json.dumps(asdict(found), default=plain) + "\n")
        return
    oldest = f", the oldest of {found.oldest_at:%Y-%m-%d %H:%M} UTC" if found.oldest_at else ""
    sys.stdout.write(f"{found.rows} requests{oldest}, {found.size_bytes / 2**20:.1f} MiB\n")
    sys.stdout.write(f"{found.needed_rows} of them are still needed and are never pruned\n")


def export(arguments: argparse.Namespace) -> None:
    """Write the rows into a file."""
    settings = settings_from(arguments)
    with closing(open_ledger(settings)) as ledger:
        note_export(settings.root, arguments.file)
        rows = export_traffic(
            ledger, settings.project, arguments.file, since=arguments.since, only_labelled=arguments.labelled
        )
    if arguments.json:
        sys.stdout.write(json.dumps({"file": str(arguments.file), "rows": rows}) + "\n")
    else:
        sys.stdout.write(f"wrote {rows} rows to {arguments.file}\n")


def prune(arguments: argparse.Namespace) -> None:
    """Delete what the limits let go."""
    settings = settings_from(arguments)
    if settings.traffic.keep_days is None and settings.traffic.keep_mib is None:
        raise ConfigError("nothing is to be pruned: set traffic.keep_days or traffic.keep_mib")
    with closing(open_ledger(settings)) as ledger:
        pruned = retention.prune(settings, ledger, utc_now())
    if arguments.json:
        sys.stdout.write(json.dumps({"deleted": pruned.rows, "unchecked": pruned.unchecked_rows}) + "\n")
        return
    unchecked = f", {pruned.unchecked_rows} of them before a drift check saw them" if pruned.unchecked_rows else ""
    sys.stdout.write(f"deleted {pruned.rows} rows{unchecked}\n")
