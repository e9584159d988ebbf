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
                    yield f"{path.name}:{number}", {k: named(v, names.get(k)) for k, v in row.items()}
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}") from error


def named(value: object, names: list[str] | None) -> object:
    """Return the name of a class for its number; -1 is how `datasets` writes that there is none."""
    if names is None or not isinstance(value, int):
        return value
    return names[value] if 0 <= value < len(names) else None


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
