"""Reads data sets of the Hugging Face hub, and folders that the `datasets` library wrote."""

from pathlib import Path
from typing import Any

from driftwheel.errors import DataError
from driftwheel.settings.data import HUB
from train.reading.parquet_rows import cell
from train.reading.raw_rows import Found

DEFAULT_SPLIT = "train"
SAVED = ("dataset_info.json", "dataset_dict.json")
"""Files by which a folder is known that `save_to_disk` wrote."""


def hub_rows(source: str) -> Found:
    """Give every row of `hf://OWNER/NAME[@REVISION][:SPLIT]`, of the split `train` if none is named.

    Raises DataError if the data set or the split cannot be loaded. Instead of a hub's name there may be a folder.
    """
    import datasets

    name, _, split = source.removeprefix(HUB).partition(":")
    name, _, revision = name.partition("@")
    try:
        loaded = datasets.load_dataset(name, split=split or DEFAULT_SPLIT, revision=revision or None)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise DataError(f"cannot load {source}: {error}; give {HUB}OWNER/NAME:SPLIT") from error
    yield from _rows(f"{Path(name).name}:{split or DEFAULT_SPLIT}", loaded)


def is_saved(folder: Path) -> bool:
    """Ask whether a folder is a data set that `save_to_disk` wrote."""
    return any((folder / name).is_file() for name in SAVED) and any(folder.rglob("*.arrow"))


def saved_rows(folder: Path) -> Found:
    """Give every row of a data set that `save_to_disk` wrote; of several splits the one named `train`."""
    import datasets

    try:
        loaded = datasets.load_from_disk(str(folder))
        if isinstance(loaded, datasets.DatasetDict):
            loaded = loaded[DEFAULT_SPLIT]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"cannot load {folder}: {error}; save a Dataset, or a DatasetDict with a train split"
        ) from error
    yield from _rows(folder.name, loaded)


def _rows(name: str, loaded: Any) -> Found:
    import datasets

    names = {}
    for column, feature in loaded.features.items():
        if isinstance(feature, datasets.ClassLabel):
            names[column] = feature.names
        elif hasattr(feature, "decode"):
            # Pictures and sounds are refused by name later; to decode them would need libraries.
            loaded = loaded.cast_column(column, type(feature)(decode=False))
    for number, row in enumerate(loaded, 1):
        yield f"{name}:{number}", {k: cell(v, names.get(k)) for k, v in row.items()}
