"""Exports logged traffic as JSON lines or Parquet, page by page; the file appears only when it is whole."""

import json
import os
import types
import typing
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from driftwheel.errors import ConfigError, StorageError
from driftwheel.inert_text import inert_json
from driftwheel.records.nouns import Traffic
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES

EXPORTS = "exports.jsonl"
"""The file of the storage folder that names all exports, for whoever has to find what somebody said."""
PAGE_ROWS = 1000
"""Rows in memory at once, each with its bodies."""


def export_traffic(
    ledger: Ledger, project: str, path: Path, *, since: datetime | None = None, only_labelled: bool = False
) -> int:
    """Write a project's rows, oldest first, every field, and return how many.

    Raises ConfigError if the name's ending says neither JSONL nor Parquet, StorageError if it cannot be written.
    """
    writers = {".jsonl": _write_jsonl, ".parquet": _write_parquet}
    if path.suffix not in writers:
        raise ConfigError(f"{path}: cannot write {path.suffix or 'a file without an ending'}; say .jsonl or .parquet")
    part = path.with_name(path.name + ".part")  # renamed when it is whole, so that nobody reads half of it
    try:
        rows = writers[path.suffix](part, _pages(ledger, project, since, only_labelled))
        os.replace(part, path)
    except StorageError:
        raise  # the ledger's, which is an OSError too
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}; name another file") from error
    finally:
        with suppress(OSError):  # of a folder that is not there, or that is none
            part.unlink(missing_ok=True)
    return rows


def note_export(root: Path, path: Path, rows: int | None = None) -> None:
    """Remember that a file is written, before it is: one that nobody remembers could never be cleared.

    Raises StorageError if the storage folder refuses.
    """
    try:
        with (root / EXPORTS).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"file": str(path.absolute()), "rows": rows}) + "\n")
    except OSError as error:
        raise StorageError(f"cannot note the export in {root / EXPORTS}: {error.strerror}; see to the disk") from error


def _pages(ledger: Ledger, project: str, since: datetime | None, only_labelled: bool) -> Iterator[Sequence[Traffic]]:
    columns = TABLES[Traffic].c
    conditions = [columns.created_at >= since] if since else []
    conditions += [columns.label.is_not(None)] if only_labelled else []
    # By the last row and not by an offset: a row that comes or goes meanwhile moves no other out of the page.
    after: list[sa.ColumnElement[bool]] = []
    while page := ledger.find(Traffic, *conditions, *after, project=project, newest_first=False, limit=PAGE_ROWS):
        yield page
        last = page[-1]
        later = sa.and_(columns.created_at == last.created_at, columns.id > last.id)
        after = [sa.or_(columns.created_at > last.created_at, later)]


def _write_jsonl(path: Path, pages: Iterator[Sequence[Traffic]]) -> int:
    rows = 0
    with path.open("w", encoding="utf-8") as file:
        for page in pages:
            for row in page:
                line = json.dumps(asdict(row), ensure_ascii=False, default=lambda moment: moment.isoformat())
                file.write(inert_json(line) + "\n")
            rows += len(page)
    return rows


def _write_parquet(path: Path, pages: Iterator[Sequence[Traffic]]) -> int:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigError("Parquet needs the extra `parquet`: pip install -e '.[parquet]'; or write JSONL") from error
    kinds = {
        str: pyarrow.string(),
        int: pyarrow.int64(),
        float: pyarrow.float64(),
        bool: pyarrow.bool_(),
        datetime: pyarrow.timestamp("us", tz="UTC"),
    }
    hints = {name: hint for name, hint in typing.get_type_hints(Traffic).items() if name != "prefix"}
    schema = pyarrow.schema([(name, kinds[_plain(hint)]) for name, hint in hints.items()])
    rows = 0
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for page in pages:
            writer.write_table(pyarrow.Table.from_pylist([asdict(row) for row in page], schema))
            rows += len(page)
    return rows


def _plain(hint: Any) -> Any:
    """Return the type of a field, without the None that it may be."""
    return next(a for a in typing.get_args(hint) if a is not type(None)) if isinstance(hint, types.UnionType) else hint
