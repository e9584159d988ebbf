"""Writes the Evidently report of a window against its reference.

The methods are pinned: Evidently's choice, and the meaning of its number, change with the size of the reference.
The decision is not taken here (see monitor/signals.py), and the report's tests say what was decided: of two verdicts on
one window nobody would know which to believe.
"""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from driftwheel.files.artifacts import write_json
from driftwheel.records.check_details import ColumnDrift
from monitor.features import Feature, Measure, frame, names_of
from monitor.observation import Observation

ALWAYS, NEVER = 0.0, 1e9
"""Distances, and shares of columns, from which on Evidently calls it drift: always, and never."""


def write_report(
    features: Sequence[Feature],
    reference: Sequence[Observation],
    current: Sequence[Observation],
    folder: Path,
    *,
    drifted: Collection[str],
    has_drifted: bool,
) -> dict[str, ColumnDrift]:
    """Run Evidently, write report.json and report.html (4 MB); return each column's score and test.

    `drifted` are the features that are over their threshold; the window may have drifted without any of them.
    """
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset, DataSummaryPreset

    columns = DataDefinition(
        numerical_columns=names_of(features, Measure.NUMBER),
        categorical_columns=names_of(features, Measure.CATEGORY),
    )
    limits = {feature.name: ALWAYS if feature.name in drifted else NEVER for feature in features}
    preset = DataDriftPreset(
        num_method="wasserstein",
        cat_method="jensenshannon",
        per_column_threshold=limits,
        drift_share=ALWAYS if has_drifted else NEVER,
    )
    report = Report([preset, DataSummaryPreset()], include_tests=True)
    snapshot = report.run(
        Dataset.from_pandas(frame(features, current), data_definition=columns),
        Dataset.from_pandas(frame(features, reference), data_definition=columns),
    )
    facts = json.loads(snapshot.json())
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "report.json", facts)
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
