"""Chooses the reference for a version's windows: the items it was judged on, or traffic before its dataset."""

import random
from dataclasses import dataclass
from pathlib import Path

from driftwheel.errors import NotFoundError
from driftwheel.predictions import read_predictions
from driftwheel.records import Dataset, ModelVersion, Traffic
from driftwheel.settings.watching import MonitorSettings
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.traffic.outcome_query import is_answered
from monitor.observation import Observation, observe
from monitor.windows import UNOBSERVED, Source, first_answered


@dataclass(frozen=True)
class Reference:
    """What a version's windows are compared with; a kind without rows is not judged yet."""

    input: tuple[Observation, ...]
    output: tuple[Observation, ...]


def reference_of(
    monitor: MonitorSettings, ledger: Ledger, version: ModelVersion, source: Source, *, seed: int
) -> Reference:
    """Return what the version's traffic is compared with.

    A version built from files is compared with the test items that it was judged on. A retrained one answers
    traffic that had already changed: its prompts are compared with the last traffic before its dataset was
    built, its answers with its own first window.
    """
    count, window_rows = monitor.reference_rows, monitor.window_rows
    dataset = ledger.get(Dataset, version.dataset_id)
    if dataset.origin == "files":
        items = judged_items(version)
        # The file is ordered by label; its head is no sample of it.
        judged = tuple(random.Random(seed).sample(items, min(count, len(items))))
        return Reference(judged, judged)
    before = ledger.find(
        Traffic,
        TABLES[Traffic].c.created_at < dataset.created_at,
        is_answered(),
        project=source.project,
        alias=source.alias,
        limit=count,
        without=UNOBSERVED,
    )
    first = first_answered(ledger, source, window_rows)
    return Reference(
        tuple(observe(row, source.label_field) for row in before), first if len(first) >= window_rows else ()
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
