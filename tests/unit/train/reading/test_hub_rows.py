"""Data sets of the `datasets` library are read with the names of their classes, from a folder as from the hub."""

from pathlib import Path

import datasets
import pytest

from driftwheel.errors import DataError
from driftwheel.records.dataset_report import BrokenRow
from driftwheel.settings.data import HUB
from train.reading.hub_rows import hub_rows, saved_rows
from train.reading.parquet_rows import parquet_rows
from train.reading.raw_rows import Found, PlacedRow
from train.reading.sources import parts_of

ROWS = [{"text": "where", "label": "delivery"}, {"text": "stop", "label": "cancel"}]


@pytest.fixture(scope="module")
def classified() -> datasets.Dataset:
    """Labels as numbers with names, as most data sets of the hub have them; the last row has none."""
    names = datasets.ClassLabel(names=["cancel", "delivery"])
    features = datasets.Features({"text": datasets.Value("string"), "label": names})
    columns = {"text": ["where", "stop", "?"], "label": [1, 0, -1]}
    return datasets.Dataset.from_dict(columns, features=features)


def rows(found: Found) -> list[PlacedRow]:
    return [f for f in found if not isinstance(f, BrokenRow)]


def test_numbers_of_classes_become_names_in_parquet(tmp_path: Path, classified: datasets.Dataset) -> None:
    classified.to_parquet(str(tmp_path / "a.parquet"))
    read = rows(parquet_rows(tmp_path / "a.parquet"))
    assert [row for _, row in read] == [*ROWS, {"text": "?", "label": None}]


def test_a_folder_that_datasets_saved_is_one_source(tmp_path: Path, classified: datasets.Dataset) -> None:
    datasets.DatasetDict(train=classified).save_to_disk(str(tmp_path / "both"))
    classified.save_to_disk(str(tmp_path / "one"))
    for name in ("both", "one"):
        (part,) = parts_of(tmp_path / name)
        assert rows(part.read())[:2] == [(f"{name}:1", ROWS[0]), (f"{name}:2", ROWS[1])]


def test_a_folder_without_a_training_split_is_an_error(tmp_path: Path, classified: datasets.Dataset) -> None:
    datasets.DatasetDict(dev=classified).save_to_disk(str(tmp_path / "dev"))
    with pytest.raises(DataError, match="DatasetDict with a train split"):
        rows(saved_rows(tmp_path / "dev"))


def test_a_split_of_a_data_set_is_loaded(
    tmp_path: Path, classified: datasets.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "intents"
    for split, part in (("train", classified), ("test", classified.select([1]))):
        part.to_parquet(str(folder / f"{split}.parquet"))
    assert [row for _, row in rows(hub_rows(f"{HUB}{folder}"))][:2] == ROWS
    assert rows(hub_rows(f"{HUB}{folder}:test")) == [("intents:test:1", ROWS[1])]
    with pytest.raises(DataError, match="give hf://OWNER/NAME:SPLIT"):
        rows(hub_rows(f"{HUB}{folder}:dev"))


def test_a_data_set_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot load hf://"):
        rows(hub_rows(f"{HUB}{tmp_path}/none"))
