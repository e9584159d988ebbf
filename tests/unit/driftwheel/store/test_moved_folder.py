"""A storage folder may be moved or restored elsewhere: rows name what lies in it relative to it."""

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from driftwheel.files import artifacts
from driftwheel.records.json_form import as_json
from driftwheel.records.nouns import Dataset, ModelVersion, ModelVersionStatus, TrainingRun
from driftwheel.records.predictions import PREDICTIONS, Prediction
from driftwheel.records.scorecard import Scorecard
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from monitor.references import judged_items
from tests.support.kept_databases import rows_in
from tests.support.versions import add_with_parents, published_version

pytestmark = pytest.mark.every_database


ANSWERED = Prediction(
    id="1",
    slice="old",
    prompt="p",
    expected="yes",
    answer="yes",
    label=None,
    predicted=None,
    is_correct=True,
    latency_seconds=0.1,
    mean_logprob=None,
)


def made_in(root: Path) -> list[Dataset | TrainingRun | ModelVersion]:
    """Write the files of a dataset, a run and a version; return their records."""
    paths = {name: root / f"{name}s" / f"{name}_1" for name in ("dataset", "run", "artifact")}
    for name, path in paths.items():
        with artifacts.writing(path, {"kind": name}) as folder:
            (folder / "content.txt").write_text(name, encoding="utf-8")
            (folder / PREDICTIONS).write_text(json.dumps(as_json(ANSWERED)) + "\n", encoding="utf-8")
    return [
        Dataset(
            id="dataset_1",
            project="support",
            content_hash="hash",
            path=str(paths["dataset"]),
            origin="files",
            train_rows=1,
            validation_rows=1,
            test_rows=1,
        ),
        TrainingRun(
            id="run_1",
            project="support",
            dataset_id="dataset_1",
            base_model=str(root / "runs" / "run_0" / "merged"),
            method="lora",
            settings={},
            settings_hash="hash",
            seed=0,
            path=str(paths["run"]),
        ),
        published_version(
            "version_1",
            run_id="run_1",
            dataset_id="dataset_1",
            base_model="some/model",
            path=str(paths["artifact"]),
            scorecard=Scorecard(accuracy=1.0, predictions_path=str(paths["artifact"] / PREDICTIONS)),
            status=ModelVersionStatus.CANDIDATE,
        ),
    ]


def test_a_folder_that_was_moved_is_found_with_all_that_lies_in_it(settings: Settings, tmp_path: Path) -> None:
    records = made_in(settings.root)
    with closing(Ledger(settings.database_url, root=settings.root)) as ledger:
        for record in records:
            ledger.add(record)
            assert ledger.get(type(record), record.id) == record  # absolute in memory
    moved = tmp_path / "elsewhere" / "storage"
    moved.parent.mkdir()
    settings.root.rename(moved)
    url = settings.database_url.replace(str(settings.root), str(moved))
    with closing(Ledger(url, root=moved)) as ledger:
        for record in records:
            found = ledger.get(type(record), record.id)
            assert found.path.startswith(f"{moved}/")
            artifacts.verify(Path(found.path))
        assert ledger.get(TrainingRun, "run_1").base_model == str(moved / "runs" / "run_0" / "merged")
        version = ledger.get(ModelVersion, "version_1")
        assert version.base_model == "some/model"
        assert [item.answer for item in judged_items(version)] == ["yes"]  # what the monitor compares traffic with


def test_a_path_outside_is_stored_as_it_is_and_a_changed_one_is_relative_again(settings: Settings) -> None:
    dataset, *_ = made_in(settings.root)
    assert isinstance(dataset, Dataset)
    outside = replace(dataset, id="outside", path="/mnt/shared/dataset", created_at=dataset.created_at)
    with closing(Ledger(settings.database_url, root=settings.root)) as ledger:
        add_with_parents(ledger, outside)
        with ledger.write() as connection:
            table = TABLES[Dataset]
            assert rows_in(connection)["dataset"]["outside"]["path"] == "/mnt/shared/dataset"
            connection.execute(table.update().values(path=dataset.path))
            assert rows_in(connection)["dataset"]["outside"]["path"] == "storage:datasets/dataset_1"
        assert ledger.find(Dataset, path=dataset.path)[0].id == "outside"


def test_a_relative_path_of_the_settings_comes_out_as_it_went_in(settings: Settings, ledger: Ledger) -> None:
    run = next(record for record in made_in(settings.root) if isinstance(record, TrainingRun))
    add_with_parents(ledger, replace(run, base_model="./models/not-there-yet"))
    assert ledger.get(TrainingRun, run.id).base_model == "./models/not-there-yet"
