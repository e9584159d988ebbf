"""Reads Parquet files; labels that the `datasets` library wrote as numbers become their names again."""

import json
from collections.abc import Mapping
from pathlib import Path

from driftwheel.errors import DataError
from train.reading.raw_rows import Found

METADATA = b"huggingface"
"""Key of the schema's metadata under which `datasets` describes the columns."""


def parquet_rows(path: Path) -> Found:
    """Give every row of a file; raises DataError if it cannot be read."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = _class_names(file.schema_arrow.metadata or {})
            number = 0
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path.name}:{number}", {k: cell(v, names.get(k)) for k, v in row.items()}
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}") from error


def cell(value: object, names: list[str] | None) -> object:
    """Return a cell's value: for a number of a class its name, and for a structure what it holds.

    -1 is how `datasets` writes that there is no class. In Arrow all structures of a column have the same keys, so that
    a key of another row is there and holds nothing.
    """
    if names is None or not isinstance(value, int):
        return _held(value)
    return names[value] if 0 <= value < len(names) else None


def _held(value: object) -> object:
    if isinstance(value, dict):
        return {key: _held(part) for key, part in value.items() if part is not None}
    return [_held(part) for part in value] if isinstance(value, list) else value


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Return the names of the classes for each column of type ClassLabel."""
    if METADATA not in metadata:
        return {}
    features = json.loads(metadata[METADATA]).get("info", {}).get("features", {})
    return {
        name: feature["names"]
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and "names" in feature
    }
