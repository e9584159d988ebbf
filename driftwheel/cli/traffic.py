"""Logged traffic becomes numbers, one request to look at, a file, or less of it.

driftwheel traffic show|export|prune --config driftwheel.yaml
"""

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from driftwheel.cli.command import add_common_arguments, open_ledger, print_record, run_command, settings_from


def main(argv: Sequence[str] | None = None, command: str | None = None) -> int:
    """Run one action and return the exit status."""
    parser = argparse.ArgumentParser(prog=command or "driftwheel traffic", description=(__doc__ or "").splitlines()[0])
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    verbs = {}
    for name, help_text in (
        ("show", "how much there is, or one request"),
        ("export", "write the rows into a JSONL or Parquet file, oldest first"),
        ("prune", "delete now what traffic.keep_days and traffic.keep_mib let go; the gateway does so by itself"),
    ):
        verbs[name] = actions.add_parser(name, help=help_text, description=help_text)
        add_common_arguments(verbs[name])
    verbs["show"].add_argument("--id", metavar="REQUEST_ID", help="show this request")
    verbs["export"].add_argument("file", type=Path, metavar="FILE", help="a name that ends in .jsonl or .parquet")
    verbs["export"].add_argument(
        "--since", type=_moment, metavar="TIME", help="only rows from then on, such as 2026-01-31"
    )
    verbs["export"].add_argument("--labelled", action="store_true", help="only rows that people labelled")
    parsed = parser.parse_args(list(sys.argv[1:] if argv is None else argv))
    return run_command(
        f"traffic {parsed.action}", {"show": show, "export": export, "prune": prune}[parsed.action], parsed
    )


def show(arguments: argparse.Namespace) -> None:
    """Print how much traffic there is, or one request."""
    from driftwheel.records import Traffic
    from driftwheel.traffic.retention import volume

    settings = settings_from(arguments)
    with closing(open_ledger(settings)) as ledger:
        if arguments.id:
            print_record(ledger.get(Traffic, arguments.id), as_json=arguments.json)
            return
        found = volume(settings, ledger)
    if arguments.json:
        sys.stdout.write(json.dumps(asdict(found), default=lambda moment: moment.isoformat()) + "\n")
        return
    oldest = f", the oldest of {found.oldest_at:%Y-%m-%d %H:%M} UTC" if found.oldest_at else ""
    sys.stdout.write(f"{found.rows} requests{oldest}, {found.size_bytes / 2**20:.1f} MiB\n")
    sys.stdout.write(f"{found.needed_rows} of them are still needed and are never pruned\n")


def export(arguments: argparse.Namespace) -> None:
    """Write the rows into a file."""
    from driftwheel.traffic.export import export_traffic

    settings = settings_from(arguments)
    with closing(open_ledger(settings)) as ledger:
        rows = export_traffic(settings, ledger, arguments.file, since=arguments.since, only_labelled=arguments.labelled)
    sys.stdout.write(json.dumps({"file": str(arguments.file), "rows": rows}) + "\n" if arguments.json
                     else f"wrote {rows} rows to {arguments.file}\n")  # fmt: skip


def prune(arguments: argparse.Namespace) -> None:
    """Delete what the limits let go."""
    from driftwheel.errors import ConfigError
    from driftwheel.records import utc_now
    from driftwheel.traffic.retention import prune as delete_rows

    settings = settings_from(arguments)
    if settings.traffic.keep_days is None and settings.traffic.keep_mib is None:
        raise ConfigError("nothing is to be pruned: set traffic.keep_days or traffic.keep_mib")
    with closing(open_ledger(settings)) as ledger:
        deleted = delete_rows(settings, ledger, utc_now())
    sys.stdout.write(json.dumps({"deleted": deleted}) + "\n" if arguments.json else f"deleted {deleted} rows\n")


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
