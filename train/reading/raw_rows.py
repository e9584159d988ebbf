"""What a reader of data files gives: each record with its place, or why it is none."""

from collections.abc import Iterator
from typing import Any

from driftwheel.records.dataset_report import BrokenRow

RawRow = dict[str, Any]
"""A row as its file holds it."""
PlacedRow = tuple[str, RawRow]
"""``file:line`` and a row; in a JSON array, a Parquet file and a hub data set the number is that of the record."""
Found = Iterator[PlacedRow | BrokenRow]


def placed(place: str, value: Any) -> PlacedRow | BrokenRow:
    """Return a JSON value as a row, or why it is none."""
    if isinstance(value, dict):
        return place, value
    return BrokenRow(place, f"is a JSON {type(value).__name__}, not an object")
