"""What the verbs of all stages share: common flags, opening the ledger, and printing records as JSON."""

import argparse
import json
import re
import sys
from datetime import datetime
from typing import Any

from driftwheel.control.gateway_reports import has_gateway, wait_until_observed
from driftwheel.files.private_files import keep_private
from driftwheel.inert_text import inert, inert_json
from driftwheel.records import json_form
from driftwheel.records.nouns import Alias, ModelVersion
from driftwheel.settings.load import load_settings
from driftwheel.settings.serving import ServeSettings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger

LONGEST_PRINTED = 300
"""Characters of a field that a person gets to see; `--json` prints all of them."""


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --config, --set and --json, for verbs that print a result."""
    add_settings_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print results as JSON lines")


def add_settings_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --config and --set, for verbs that run until they are stopped or are read by programs alone."""
    parser.add_argument("--config", default="driftwheel.yaml", metavar="FILE", help="settings file (driftwheel.yaml)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        dest="overrides",
        help="override one setting; may be repeated",
    )


def settings_from(arguments: argparse.Namespace) -> Settings:
    """Load the settings that the arguments name."""
    return load_settings(arguments.config, arguments.overrides)


def open_ledger(settings: Settings) -> Ledger:
    """Open the ledger that the settings name; the storage folder is closed to the other users of this machine."""
    keep_private(settings.root)
    return Ledger(settings.database_url, root=settings.root)


def opened(arguments: argparse.Namespace) -> tuple[Settings, Ledger]:
    """Load the settings that the arguments name, and open their ledger."""
    settings = settings_from(arguments)
    return settings, open_ledger(settings)


def named_version(ledger: Ledger, project: str, name: str) -> ModelVersion:
    """Return a version by its id, or by the short name that the dashboard shows, such as v3; raises NotFoundError."""
    numbered = re.fullmatch(r"v(\d{1,9})", name)
    if numbered and not ledger.count(ModelVersion, id=name, project=project):
        found = ledger.find(ModelVersion, project=project, number=int(numbered[1]), limit=1)
        name = found[0].id if found else name
    return ledger.get(ModelVersion, name, project=project)


def add_wait_argument(parser: argparse.ArgumentParser) -> None:
    """Add --no-wait, for verbs that move the alias."""
    parser.add_argument("--no-wait", action="store_true", help="do not wait until the gateway serves it")


def print_when_served(arguments: argparse.Namespace, serve: ServeSettings, ledger: Ledger, alias: Alias) -> None:
    """Print an alias that was moved, once the gateway serves it; where none looks after it, say that nothing serves."""
    if not arguments.no_wait:
        if has_gateway(ledger, alias):
            _say_what_is_awaited(ledger, alias)
            alias = wait_until_observed(serve, ledger, alias)
        else:
            sys.stderr.write(f"no gateway runs yet: {alias.version_id} is served once `driftwheel serve` is started\n")
    print_record(alias, as_json=arguments.json)


def _say_what_is_awaited(ledger: Ledger, alias: Alias) -> None:
    version = ledger.get(ModelVersion, alias.version_id)
    sys.stderr.write(
        f"waiting until the gateway serves v{version.number} alone, through its canary if it has one; Ctrl-C ends the "
        "wait and not the move, and `driftwheel status` says how far it is\n"
    )
    sys.stderr.flush()


def print_record(record: Any, *, as_json: bool) -> None:
    """Print a record on stdout: one JSON line, or one `field: value` line each."""
    fields = json_form.as_json(record)
    if as_json:
        print_json(fields)
    else:
        width = max(map(len, fields))
        for name, value in fields.items():
            is_nested = isinstance(value, dict | list)
            text = json.dumps(value, default=plain, ensure_ascii=False) if is_nested else str(value)
            cut = text if len(text) <= LONGEST_PRINTED else text[: LONGEST_PRINTED - 3] + "..."
            sys.stdout.write(f"{name:<{width}}  {inert(cut)}\n")
    sys.stdout.flush()


def print_json(value: object) -> None:
    """Print what may hold texts from outside on stdout as one line of JSON."""
    sys.stdout.write(inert_json(json.dumps(value, default=plain, ensure_ascii=False)) + "\n")


def plain(value: Any) -> str:
    """Return what JSON prints for a value that it does not know: a time in ISO 8601."""
    return value.isoformat() if isinstance(value, datetime) else str(value)
