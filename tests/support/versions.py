"""Versions, runs, datasets and requests for tests that only need them to be there."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from driftwheel.records.nouns import (
    Dataset,
    DecisionStatus,
    DecisionVerdict,
    ModelVersion,
    ModelVersionStatus,
    RetrainDecision,
    Traffic,
    TrainingRun,
    TrainingRunStatus,
)
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
"""When stubs were made: whoever asks for the newest record gets another one."""


def published_version(id: str, **facts: Any) -> ModelVersion:
    """Return a published version without files; `facts` are the fields by which it differs from any other."""
    made = ModelVersion(
        id=id,
        project="support",
        status=ModelVersionStatus.PUBLISHED,
        number=1,
        run_id="run",
        dataset_id="dataset",
        base_model="base",
        path="path",
        manifest_hash="hash",
        quantization="none",
    )
    return replace(made, **facts)


def answered_request(id: str, **facts: Any) -> Traffic:
    """Return a request that `v1` answered; `facts` are the fields by which it differs from any other."""
    made = Traffic(
        id=id,
        project="support",
        alias="support",
        version_id="v1",
        route="/v1/chat/completions",
        status_code=200,
        prompt="where is my card",
        answer='{"intent":"card"}',
        latency_seconds=0.1,
    )
    return replace(made, **facts)


def dataset_stub(id: str) -> Dataset:
    """Return a dataset without files."""
    return Dataset(
        id=id,
        project="stubs",
        created_at=LONG_AGO,
        content_hash="hash",
        path="path",
        origin="files",
        train_rows=1,
        validation_rows=1,
        test_rows=1,
    )


def run_stub(id: str) -> TrainingRun:
    """Return a run without files, on the dataset `dataset`."""
    return TrainingRun(
        id=id,
        project="stubs",
        created_at=LONG_AGO,
        status=TrainingRunStatus.SUCCEEDED,
        dataset_id="dataset",
        base_model="base",
        method="lora",
        settings={},
        settings_hash="hash",
        seed=0,
        path="path",
    )


def _version_stub(id: str) -> ModelVersion:
    return published_version(id, project="stubs")


def decision_stub(id: str) -> RetrainDecision:
    """Return a decision that has ended."""
    return RetrainDecision(
        id=id,
        project="stubs",
        created_at=LONG_AGO,
        verdict=DecisionVerdict.RETRAIN,
        status=DecisionStatus.CLOSED,
        trigger="button",
        remedy="retrain",
        reasons=[],
    )


STUBS = {"dataset": dataset_stub, "run": run_stub, "version": _version_stub, "decision": decision_stub}


def add_with_parents(ledger: Ledger, *records: Any) -> None:
    """Add records, before them stubs of what they name and what neither they nor the ledger hold; all or none."""
    with ledger.write() as connection:
        ledger.add_with(connection, [*_parents(connection, records), *records])


def add_versions(ledger: Ledger, *ids: str, project: str = "support") -> None:
    """Add published versions, for an alias to point at."""
    add_with_parents(ledger, *(published_version(id, project=project, number=n) for n, id in enumerate(ids, 1)))


def _parents(connection: sa.Connection, records: "tuple[Any, ...]") -> list[Any]:
    """Return stubs of the records that these lack, and of those that the stubs lack."""
    known, found = {(TABLES[type(r)].name, r.id) for r in records}, list[Any]()
    waiting = list(records)
    while waiting:
        record = waiting.pop()
        for key in TABLES[type(record)].foreign_keys:
            table, id = key.column.table, getattr(record, key.parent.name)
            is_there = id is None or (table.name, id) in known
            if is_there or connection.execute(sa.select(table.c.id).where(table.c.id == id)).first():
                continue
            known.add((table.name, id))
            found.append(STUBS[table.name](id))
            waiting.append(found[-1])
    return found
