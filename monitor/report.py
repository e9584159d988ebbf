"""Writes the Evidently report of a window against its reference.

The methods are pinned: Evidently's choice, and the meaning of its number, change with the size of the reference.
The decision is not taken here; see monitor/drift.py.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from driftwheel.artifacts import write_json
from driftwheel.check_details import ColumnDrift
from monitor.features import Feature, Measure, frame, names_of
from monitor.observation import Observation


def write_report(
    features: Sequence[Feature],
    reference: Sequence[Observation],
    current: Sequence[Observation],
    folder: Path,
    *,
    with_html: bool,
) -> dict[str, ColumnDrift]:
    """Run Evidently, write report.json and, if wanted, report.html (4 MB); return each column's score and test."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset, DataSummaryPreset

    columns = DataDefinition(
        numerical_columns=names_of(features, Measure.NUMBER),
        categorical_columns=names_of(features, Measure.CATEGORY),
    )
    preset = DataDriftPreset(num_method="wasserstein", cat_method="jensenshannon", drift_share=0.5)
    report = Report([preset, DataSummaryPreset()], include_tests=True)
    snapshot = report.run(
        Dataset.from_pandas(frame(features, current), data_definition=columns),
        Dataset.from_pandas(frame(features, reference), data_definition=columns),
    )
    facts = json.loads(snapshot.json())
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "report.json", facts)
    if with_html:
        snapshot.save_html(str(folder / "report.html"))
    return column_results(facts)


def column_results(report: dict[str, Any]) -> dict[str, ColumnDrift]:
    """Return what a report.json of Evidently says about each column."""
    found = {}
    for metric in report.get("metrics", []):
        config = metric.get("config", {})
        if "ValueDrift" in str(config.get("type", metric.get("metric_name", ""))):
            found[str(config.get("column"))] = ColumnDrift(score=metric.get("value"), method=config.get("method"))
    return found
