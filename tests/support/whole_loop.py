"""A small loop whose rows and files belong together: a dataset, a run, an artifact, a version, an alias, requests."""

import json
from pathlib import Path

from driftwheel.files.artifacts import writing
from driftwheel.records.nouns import (
    Alias,
    Dataset,
    ModelVersion,
    ModelVersionStatus,
    Traffic,
    TrainingRun,
    TrainingRunStatus,
)
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger


def request_row(version_id: str, number: int, **changes: object) -> Traffic:
    """Return an answered request."""
    row: dict[str, object] = {
        "id": f"req_{number:05d}",
        "project": "support",
        "alias": "support",
        "version_id": version_id,
        "route": "/v1/chat/completions",
        "status_code": 200,
        "prompt": f"question {number}",
        "answer": "yes",
        "latency_seconds": 0.1,
    }
    return Traffic(**row | changes)  # type: ignore[arg-type]  # fields by name


def add_dataset(
    ledger: Ledger, settings: Settings, id: str = "dataset_1", rows: tuple[dict[str, object], ...] = ()
) -> Dataset:
    """Add a dataset with these training rows."""
    folder = settings.root / "datasets" / id
    with writing(folder, {}) as made:
        for split in ("train", "validation", "test"):
            lines = rows if split == "train" else ()
            text = "".join(json.dumps(row) + "\n" for row in lines)
            (made / f"{split}.jsonl").write_text(text, encoding="utf-8")
    dataset = Dataset(
        id=id,
        project=settings.project,
        content_hash="c" * 64,
        path=str(folder),
        origin="files",
        train_rows=len(rows),
        validation_rows=0,
        test_rows=0,
    )
    ledger.add(dataset)
    return dataset


def add_run(ledger: Ledger, settings: Settings, id: str, dataset_id: str) -> TrainingRun:
    """Add a run that has ended, with an adapter, merged weights and a checkpoint."""
    path = settings.root / "runs" / id
    for name in ("adapter", "merged", "checkpoint-10"):
        (path / name).mkdir(parents=True)
        (path / name / "weights.safetensors").write_bytes(b"w" * 100)
    run = TrainingRun(
        id=id,
        project=settings.project,
        status=TrainingRunStatus.SUCCEEDED,
        dataset_id=dataset_id,
        base_model="base",
        method="lora",
        settings={},
        settings_hash=id,
        seed=0,
        path=str(path),
    )
    ledger.add(run)
    return run


def add_built(
    ledger: Ledger,
    settings: Settings,
    number: int,
    dataset_id: str,
    status: ModelVersionStatus = ModelVersionStatus.PUBLISHED,
) -> ModelVersion:
    """Add a run with an artifact and the version that it became."""
    run = add_run(ledger, settings, f"run_{number}", dataset_id)
    path = settings.root / "artifacts" / f"{run.id}-none"
    with writing(path, {}) as made:
        (made / "model.safetensors").write_bytes(b"m" * 100)
    manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    version = ModelVersion(
        id=f"version_{number}",
        project=settings.project,
        status=status,
        number=number,
        run_id=run.id,
        dataset_id=dataset_id,
        base_model="base",
        path=str(Path(path)),
        manifest_hash=manifest["content_hash"],
        quantization="none",
    )
    ledger.add(version)
    return version


def add_version(ledger: Ledger, settings: Settings) -> ModelVersion:
    """Add a dataset and a version that the alias names."""
    add_dataset(ledger, settings)
    version = add_built(ledger, settings, 1, "dataset_1")
    alias = Alias(
        id=f"{settings.project}/{settings.serve.alias}",
        project=settings.project,
        name=settings.serve.alias,
        version_id=version.id,
        fence=1,
    )
    ledger.add(alias)
    return version
