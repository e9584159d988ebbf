"""Make, list, disable and rotate the API keys of the gateway.

driftwheel keys create|list|disable|rotate

One file for four actions: they are one verb, and print a key in the same way.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta

from driftwheel.argument_types import number, whole
from driftwheel.callers.api_keys import LARGEST_LIMIT, LIMITS, create_key, disable_key, keys_of, rotate_key
from driftwheel.cli.command import add_common_arguments, opened
from driftwheel.identity import utc_now
from driftwheel.records.bookkeeping import ApiKey, ApiKeyStatus, Scope

DEFAULT_SCOPES = f"{Scope.ASK},{Scope.FEEDBACK}"
SHORTEST_DAYS, MOST_DAYS = 1 / 24 / 60, 36_500.0
"""A key that lives for less than a minute is a slip of the pen, and so is one for more than a hundred years."""
MOST_HOURS = 24 * 366.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's actions, each with its arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, act, help_text in (
        ("create", _create, "make a key and print it, once"),
        ("list", _list, "print the keys' names, scopes and limits"),
        ("disable", _disable, "make a key worthless, within a second"),
        ("rotate", _rotate, "print a new key; the old one works on for a while"),
    ):
        action = actions.add_parser(name, help=help_text, description=help_text)
        action.set_defaults(act=act)
        add_common_arguments(action)
        if name != "list":
            action.add_argument("name", help="name of the key, such as the service that will hold it")
        if name == "create":
            _add_create_arguments(action)
        if name == "rotate":
            action.add_argument(
                "--grace-hours", type=number(0, MOST_HOURS), default=24.0, help="how long the old key works on (24)"
            )


def _add_create_arguments(action: argparse.ArgumentParser) -> None:
    scopes_help = f"of {', '.join(Scope)} ({DEFAULT_SCOPES})"
    action.add_argument("--scopes", type=_scopes, default=DEFAULT_SCOPES, metavar="LIST", help=scopes_help)
    action.add_argument(
        "--expires-days", type=number(SHORTEST_DAYS, MOST_DAYS), metavar="DAYS", help="the key ends then (never)"
    )
    action.add_argument(
        "--requests-per-minute", type=whole(1, LARGEST_LIMIT), metavar="N", help="more get 429 (no limit)"
    )
    action.add_argument(
        "--tokens-per-minute", type=whole(1, LARGEST_LIMIT), metavar="N", help="prompt and answer together (no limit)"
    )
    action.add_argument(
        "--max-concurrency", type=whole(1, LARGEST_LIMIT), metavar="N", help="requests in flight at once (no limit)"
    )


def main(arguments: argparse.Namespace) -> None:
    """Run the action."""
    arguments.act(arguments)


def _scopes(text: str) -> list[Scope]:
    try:
        return [Scope(part.strip()) for part in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; there are {', '.join(Scope)}") from error


def _create(arguments: argparse.Namespace) -> None:
    settings, ledger = opened(arguments)
    days = arguments.expires_days
    record, key = create_key(
        ledger,
        settings.project,
        arguments.name,
        arguments.scopes,
        expires_at=None if days is None else utc_now() + timedelta(days=days),
        **{name: getattr(arguments, name) for name in LIMITS},
    )
    _print([record], as_json=arguments.json, key=key)


def _list(arguments: argparse.Namespace) -> None:
    settings, ledger = opened(arguments)
    keys = keys_of(ledger, settings.project)
    _print(keys, as_json=arguments.json)
    if not keys:
        sys.stderr.write("there are none yet; next: driftwheel keys create NAME\n")


def _disable(arguments: argparse.Namespace) -> None:
    settings, ledger = opened(arguments)
    _print([disable_key(ledger, settings.project, arguments.name)], as_json=arguments.json)


def _rotate(arguments: argparse.Namespace) -> None:
    settings, ledger = opened(arguments)
    grace = timedelta(hours=arguments.grace_hours)
    record, key = rotate_key(ledger, settings.project, arguments.name, grace)
    _print([record], as_json=arguments.json, key=key)


def _print(records: Sequence[ApiKey], *, as_json: bool, key: str = "") -> None:
    for record in records:
        fields = _shown(record)
        if as_json:
            sys.stdout.write(json.dumps(fields | ({"key": key} if key else {})) + "\n")
        else:
            sys.stdout.write("  ".join(f"{name} {value}" for name, value in fields.items() if value) + "\n")
    if key and not as_json:
        sys.stdout.write(f"{key}\nThis key is not shown again.\n")


def _shown(record: ApiKey) -> dict[str, object]:
    """Return what may be seen of a key: not even its hash."""
    is_rotating = record.previous_ends_at is not None and record.previous_ends_at > utc_now()
    return {
        "name": record.id.partition("/")[2],
        "status": _status(record),
        "scopes": ",".join(record.scopes),
        **{name: getattr(record, name) for name in LIMITS},
        "expires_at": _text(record.expires_at),
        "old_key_ends_at": _text(record.previous_ends_at) if is_rotating else None,
        "created_at": _text(record.created_at),
    }


def _status(record: ApiKey) -> str:
    is_over = record.expires_at is not None and record.expires_at <= utc_now()
    return "expired" if is_over and record.status == ApiKeyStatus.ACTIVE else record.status.value


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")
