"""Traffic rows and judged test items become observations, and a version gets the reference that fits it."""

import random
from dataclasses import dataclass
from pathlib import Path

from driftwheel.answers import label_of
from driftwheel.errors import NotFoundError
from driftwheel.predictions import read_predictions
from driftwheel.records import Dataset, ModelVersion, Traffic
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from monitor.windows import Observation


@dataclass(frozen=True)
class Reference:
    """What a version's windows are compared with; a kind without rows is not judged yet."""

    input: tuple[Observation, ...]
    output: tuple[Observation, ...]


def traffic_of(settings: Settings, ledger: Ledger, version_id: str) -> list[Observation]:
    """Return a version's requests through the alias, oldest first."""
    rows = ledger.find(
        Traffic,
        project=settings.project,
        alias=settings.serve.alias,
        version_id=version_id,
        newest_first=False,
        without=("request", "response"),
    )
    return [observe(row, settings.dataset.label_field) for row in rows]


def observe(row: Traffic, label_field: str | None) -> Observation:
    """Turn a traffic row into an observation."""
    right = row.label
    if right is not None and row.label_source != "label":
        right = label_of(right, label_field)
    return Observation(
        id=row.id,
        prompt=row.prompt,
        answer=row.answer,
        label=label_of(row.answer, label_field),
        right_label=right,
        latency_seconds=row.latency_seconds,
        is_failed=row.status_code >= 500 or row.status_code == 499 or row.is_partial,
        at=row.created_at,
    )


def reference_of(settings: Settings, ledger: Ledger, version: ModelVersion) -> Reference:
    """Return what the version's traffic is compared with.

    A version built from files is compared with the test items that it was judged on. A retrained one answers
    traffic that had already changed: its prompts are compared with the last traffic before its dataset was
    built, its answers with its own first window.
    """
    count, window_rows = settings.monitor.reference_rows, settings.monitor.window_rows
    dataset = ledger.get(Dataset, version.dataset_id)
    if dataset.origin == "files":
        items = judged_items(version)
        # The file is ordered by label; its head is no sample of it.
        judged = tuple(random.Random(settings.dataset.seed).sample(items, min(count, len(items))))
        return Reference(judged, judged)
    before = ledger.find(
        Traffic,
        TABLES[Traffic].c.created_at < dataset.created_at,
        project=settings.project,
        alias=settings.serve.alias,
        status_code=200,
        limit=count,
    )
    first = [row for row in traffic_of(settings, ledger, version.id) if not row.is_failed][:window_rows]
    label_field = settings.dataset.label_field
    return Reference(
        tuple(observe(row, label_field) for row in before), tuple(first) if len(first) >= window_rows else ()
    )


def judged_items(version: ModelVersion) -> list[Observation]:
    """Read the predictions of the version's evaluation; raises NotFoundError if they are gone."""
    path = Path(version.scorecard.predictions_path or "")
    if not path.is_file():
        raise NotFoundError(f"{version.id} has no predictions at {path}; evaluate and publish it again")
    return [
        Observation(
            id=item.id,
            prompt=item.prompt,
            answer=item.answer,
            label=item.predicted,
            right_label=item.label,
            latency_seconds=item.latency_seconds,
        )
        for item in read_predictions(path.parent)
    ]
