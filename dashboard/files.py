"""Reads what the stages left in the storage folder as table rows; a missing or broken file gives none."""

import os
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from driftwheel.foreign_json import read_json

JsonObject: TypeAlias = dict[str, Any]
"""A line of a file, of which anything may be missing."""


def json_lines(path: Path, limit: int | None = None) -> list[JsonObject]:
    """Return the objects of a JSONL file, up to the first line that is cut short."""
    if not path.is_file():
        return []
    return list(islice(_objects(path), limit))


def _objects(path: Path) -> Iterator[JsonObject]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                value = read_json(line)
            except ValueError:
                return
            if isinstance(value, dict):
                yield value


def tail_of(path: Path, limit: int = 8_000) -> str:
    """Return the last bytes of a log as text, from the beginning of a line; nothing of one that is not there."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - limit))
        text = file.read().decode(errors="replace")
    return text if size <= limit else text.partition("\n")[2]


def curves(run_path: Path) -> list[JsonObject]:
    """Return the points of a training run."""
    return json_lines(run_path / "curves.jsonl")


def newest_points(run_path: Path) -> list[JsonObject]:
    """Return the last points of a training run, however long its file is."""
    lines = tail_of(run_path / "curves.jsonl", 4_000).splitlines()
    return [point for line in lines if (point := _point(line)) is not None]


def _point(line: str) -> JsonObject | None:
    try:
        value = read_json(line)
    except ValueError:  # the last line may be half written
        return None
    return value if isinstance(value, dict) else None


def searches(root: Path) -> list[JsonObject]:
    """Return the summaries of the searches for settings, the one that was written last first."""
    found = sorted((root / "searches").glob("*/search.json"), key=lambda p: p.stat().st_mtime, reverse=True)
    return [summary for path in found if (summary := _object(path)) is not None]


def _object(path: Path) -> JsonObject | None:
    try:
        value = read_json(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def sample_rows(dataset_path: Path, split: str, limit: int = 50) -> list[JsonObject]:
    """Return the first rows of a split, flattened for a table."""
    return [
        {
            "prompt": _last_content(row.get("prompt")),
            "completion": _last_content(row.get("completion")),
            "label": row.get("label"),
            "source": row.get("source"),
            "slice": row.get("slice"),
            "group": row.get("group"),
        }
        for row in json_lines(dataset_path / f"{split}.jsonl", limit)
    ]


@lru_cache(maxsize=4)
def labels_in(path: Path) -> Counter[str]:
    """Count the labels of a split, which is written once and never changed."""
    lines = _objects(path) if path.is_file() else ()
    return Counter(label for row in lines if isinstance(label := row.get("label"), str))


def _last_content(messages: Any) -> str:
    if isinstance(messages, list) and messages and isinstance(messages[-1], dict):
        return str(messages[-1].get("content", ""))
    return str(messages or "")


def text_of(path: Path) -> str | None:
    """Return a text file's content, or None."""
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
