"""What the verbs that list the newest records of a kind share: their flags, and one line for each record."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from driftwheel.argument_types import whole
from driftwheel.cli.command import add_common_arguments, opened, print_json
from driftwheel.inert_text import inert
from driftwheel.records import json_form
from driftwheel.records.nouns import ModelVersion
from driftwheel.store.alias import find_alias
from driftwheel.store.ledger import Ledger

MOST_LINES = 10_000
LONGEST = 100
"""Characters of the last column."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """What a verb lists: the record, what is said of one, and the command that makes the first."""

    record: type[Any]
    words: Callable[[Any], tuple[str, ...]]
    command: str


def add_list_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --last beside the common flags."""
    add_common_arguments(parser)
    parser.add_argument("--last", type=whole(1, MOST_LINES), default=20, metavar="N", help="at most so many (20)")


def print_list(arguments: argparse.Namespace, listed: Listed) -> None:
    """Print the newest records of a kind, the newest first."""
    settings, ledger = opened(arguments)
    found = ledger.find(listed.record, project=settings.project, limit=arguments.last)
    if arguments.json:
        for record in found:
            print_json(json_form.as_json(record))
        return
    live_id = _live(ledger, settings.project, settings.serve.alias) if listed.record is ModelVersion else None
    rows = [
        (f"{record.created_at:%Y-%m-%d %H:%M}", *listed.words(record), "live" if record.id == live_id else "")
        for record in found
    ]
    sys.stdout.write("".join(f"{line}\n" for line in _aligned(rows)))
    if not found:
        sys.stderr.write(f"there are none yet; next: {listed.command}\n")


def _live(ledger: Ledger, project: str, name: str) -> str | None:
    alias = find_alias(ledger, project, name)
    return alias.version_id if alias else None


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Return rows as lines whose columns stand below each other; what people wrote stays on its line."""
    cells = [[_short(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _short(cell: str) -> str:
    text = inert(cell)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
