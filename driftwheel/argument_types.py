"""Types of arguments that are bounded numbers or moments; the error for another says in one line what is right."""

import argparse
import math
from collections.abc import Callable
from datetime import UTC, datetime


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return the type of a whole number from `least` to `most`."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {most}, not {text[:40]!r}")
        return value

    return read


def number(least: float, most: float) -> Callable[[str], float]:
    """Return the type of a number from `least` to `most`."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:  # which NaN never is
            raise argparse.ArgumentTypeError(f"must be a number from {least:g} to {most:g}, not {text[:40]!r}")
        return value

    return read


def moment(text: str) -> datetime:
    """Read a time; one without an offset is UTC, as in the ledger."""
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        example = "such as 2026-01-31 or 2026-01-31T12:00+01:00"
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a time in ISO 8601, {example}") from error
