"""What is live is said with what it scored, and how sure that is."""

from dataclasses import replace
from typing import Any

import pytest

from driftwheel.cli.command import named_version
from driftwheel.cli.status import as_text, gather
from driftwheel.errors import NotFoundError
from driftwheel.records import Alias, Dataset, ModelVersion, ModelVersionStatus, TrainingRun, TrainingRunStatus
from driftwheel.scorecard import Scorecard
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger

DATASET = Dataset(
    id="d",
    project="support",
    content_hash="h",
    path="p",
    origin="files",
    train_rows=8,
    validation_rows=1,
    test_rows=1,
)
RUN = TrainingRun(
    id="r",
    project="support",
    dataset_id="d",
    base_model="b",
    method="lora",
    settings={},
    settings_hash="s",
    seed=0,
    path="p",
    status=TrainingRunStatus.SUCCEEDED,
)


def version(id: str, number: int, **facts: Any) -> ModelVersion:
    made = ModelVersion(
        id=id,
        project="support",
        number=number,
        run_id="r",
        dataset_id="d",
        base_model="b",
        path="p",
        manifest_hash="h",
        quantization="none",
    )
    return replace(made, **facts)


def test_the_live_versions_accuracy_stands_with_its_interval(settings: Settings, ledger: Ledger) -> None:
    scorecard = Scorecard(accuracy=0.9257, intervals={"accuracy": (0.9039, 0.9429)})
    ledger.add(version("version_1", 1, scorecard=scorecard))
    ledger.add(Alias(id="support/support", project="support", name="support", version_id="version_1", fence=1))
    assert "accuracy       92.6% [90.4%, 94.3%] when it was judged" in as_text(gather(ledger, settings.alias_key))


def test_before_anything_is_live_the_next_command_is_named(settings: Settings, ledger: Ledger) -> None:
    steps = [
        (None, "driftwheel data build"),
        (DATASET, "driftwheel train"),
        (RUN, "driftwheel publish"),
        (version("version_6", 6, status=ModelVersionStatus.REJECTED), "driftwheel train"),
        (version("version_7", 7, status=ModelVersionStatus.PUBLISHED), "driftwheel promote v7"),
    ]
    for record, command in steps:
        ledger.add(*([record] if record else []))
        assert f"nothing yet; next: {command}" in as_text(gather(ledger, settings.alias_key))


def test_a_version_goes_by_its_id_or_its_number(settings: Settings, ledger: Ledger) -> None:
    ledger.add(version("version_a", 1), version("v1", 2))
    assert named_version(ledger, settings.project, "version_a").number == 1
    assert named_version(ledger, settings.project, "v2").id == "v1"
    assert named_version(ledger, settings.project, "v1").id == "v1"
    with pytest.raises(NotFoundError, match="no version 'v3'"):
        named_version(ledger, settings.project, "v3")
