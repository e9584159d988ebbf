"""Reads a source of data, whatever it is: a file, a folder of files, or a data set of the hub.

To read another kind of file, write a function and give its suffix a line in `FILE_KINDS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from driftwheel.errors import DataError
from driftwheel.settings.data import HUB
from train.reading.csv_rows import csv_rows
from train.reading.hub_rows import hub_rows, is_saved, saved_rows
from train.reading.json_rows import json_rows
from train.reading.opened import COMPRESSIONS, kind_of
from train.reading.paragraphs import paragraphs
from train.reading.parquet_rows import parquet_rows
from train.reading.raw_rows import Found

FILE_KINDS: dict[str, Callable[[Path], Found]] = {
    ".jsonl": json_rows,
    ".ndjson": json_rows,
    ".json": json_rows,
    ".csv": csv_rows,
    ".tsv": csv_rows,
    ".parquet": parquet_rows,
    ".txt": paragraphs,
}
PACKED_WITHIN = ".parquet"
"""Its columns are compressed already, and its reader needs to seek."""
PROSE = {".md", ".rst", ".pdf", ".html", ".yaml", ".yml", ".lock", ".gitattributes", ".gitignore", ""}
"""What stands beside data in a folder and is none."""


@dataclass(frozen=True)
class Part:
    """One file of a source, or the whole of it where it has no files."""

    name: str
    """For messages to a person."""
    read: Callable[[], Found]


def parts_of(source: str | Path) -> list[Part]:
    """Return the parts of a source, those of a folder sorted by path; raises DataError if there are none."""
    if str(source).startswith(HUB):
        return [Part(str(source).removeprefix(HUB), lambda: hub_rows(str(source)))]
    path = Path(source)
    if path.is_dir():
        return [Part(path.name, lambda: saved_rows(path))] if is_saved(path) else _within(path)
    if not path.is_file():
        raise DataError(f"no data file at {path}; check dataset.sources")
    return [_part(path)]


def _within(folder: Path) -> list[Part]:
    files = [
        p for p in sorted(folder.rglob("*")) if p.is_file() and not p.relative_to(folder).as_posix().startswith(".")
    ]
    parts = [_part(path) for path in files if path.suffix.lower() not in PROSE]
    if not parts:
        raise DataError(f"no data file in {folder}; put {_known()} files there")
    return parts


def _part(path: Path) -> Part:
    kind = FILE_KINDS.get(kind_of(path))
    if kind is None or (kind_of(path) == PACKED_WITHIN and path.suffix.lower() in COMPRESSIONS):
        raise DataError(f"{path}: cannot read {path.suffix or 'a file without a suffix'}; give {_known()}")
    return Part(path.name, lambda: kind(path))


def _known() -> str:
    return ".jsonl, .csv or .parquet (or .ndjson, .json, .tsv, .txt; all but .parquet also as .gz or .zst)"
