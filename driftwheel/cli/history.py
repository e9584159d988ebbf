"""Show who did what to this loop, and why: controls, swaps, alarms, keys and changed settings, the newest first.

driftwheel history [--action ACTION] [--actor NAME] [--since TIME]
"""

import argparse
import json
import sys
from dataclasses import asdict

from driftwheel.argument_types import moment, whole
from driftwheel.cli.command import add_common_arguments, opened, plain
from driftwheel.inert_text import inert_json
from driftwheel.records.by_whom import Action, Event
from driftwheel.store.events import events_of

MOST_LINES = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    parser.add_argument(
        "--action",
        type=Action,
        action="append",
        default=[],
        metavar="ACTION",
        help=f"only this; may be repeated: {', '.join(Action)}",
    )
    parser.add_argument("--actor", metavar="ID", help="only by this key (PROJECT/NAME), person or process:worker")
    parser.add_argument("--since", type=moment, metavar="TIME", help="only from then on, such as 2026-01-31")
    parser.add_argument("--last", type=whole(1, MOST_LINES), default=50, metavar="N", help="at most so many (50)")


def main(arguments: argparse.Namespace) -> None:
    """Print the events."""
    settings, ledger = opened(arguments)
    found = events_of(
        ledger,
        settings.project,
        actions=arguments.action,
        actor=arguments.actor,
        since=arguments.since,
        limit=arguments.last,
    )
    for event in found:
        sys.stdout.write((json.dumps(asdict(event), default=plain) if arguments.json else line(event)) + "\n")
    if not found and not arguments.json:
        sys.stderr.write("nothing of that kind was done yet\n")


def line(event: Event) -> str:
    """Return an event as one line; what people wrote as JSON, so that it says nothing to the terminal."""
    changed = f" {_state(event.before)} -> {_state(event.after)}" if event.before else f" {_state(event.after)}"
    reason = f"  {_quoted(event.reason)}" if event.reason else ""
    head = f"{event.created_at:%Y-%m-%d %H:%M:%S}  {_word(event.actor)}  {event.action}  {_word(event.object_id)}"
    return head + (changed if event.before or event.after else "") + reason


def _state(facts: dict[str, object]) -> str:
    return _quoted(facts)


def _word(text: str) -> str:
    """Return a name as it is where it is harmless, else as JSON."""
    return text if text.isascii() and text.isprintable() else _quoted(text)


def _quoted(value: object) -> str:
    return inert_json(json.dumps(value, default=plain, ensure_ascii=False))
