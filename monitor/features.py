"""The registry of drift features: what is compared of prompts and answers, and by which statistic.

A new feature is one entry here: signals, thresholds and the report take it from `FEATURES`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd

from driftwheel.records.nouns import DriftKind
from monitor.observation import Observation

NO_LABEL = "(none)"


class Measure(StrEnum):
    """What a feature's values are; the value names the two-sample statistic that compares them."""

    NUMBER = "ks"
    CATEGORY = "total variation"
    TEXT = "mmd"


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One property of an observation."""

    name: str
    measure: Measure
    value: Callable[[Observation], float | str | None]
    kind: DriftKind | None = None
    """The kind of drift that it is evidence of, input or output; None means that only the report shows it."""


FEATURES = (
    Feature(
        name="prompt_words",
        kind=DriftKind.INPUT,
        measure=Measure.NUMBER,
        value=lambda row: len(row.prompt.split()),
    ),
    Feature(
        name="prompt_characters",
        kind=DriftKind.INPUT,
        measure=Measure.NUMBER,
        value=lambda row: len(row.prompt),
    ),
    Feature(
        name="prompt_embedding",
        kind=DriftKind.INPUT,
        measure=Measure.TEXT,
        value=lambda row: row.prompt,
    ),
    Feature(
        name="answer_characters",
        kind=DriftKind.OUTPUT,
        measure=Measure.NUMBER,
        value=lambda row: len(row.answer),
    ),
    Feature(
        name="answer_label",
        kind=DriftKind.OUTPUT,
        measure=Measure.CATEGORY,
        value=lambda row: row.label or NO_LABEL,
    ),
    Feature(name="latency_seconds", measure=Measure.NUMBER, value=lambda row: row.latency_seconds),
    Feature(name="has_label", measure=Measure.CATEGORY, value=lambda row: str(row.label is not None)),
    Feature(name="is_empty", measure=Measure.CATEGORY, value=lambda row: str(not row.answer.strip())),
)


def names_of(features: Sequence[Feature], measure: Measure) -> list[str]:
    """Return the names of the features with one kind of value."""
    return [feature.name for feature in features if feature.measure is measure]


def frame(features: Sequence[Feature], rows: Sequence[Observation]) -> pd.DataFrame:
    """Return the numbers and categories as the table that the report draws."""
    columns: dict[str, object] = {}
    for feature in features:
        values = [feature.value(row) for row in rows]
        if feature.measure is Measure.NUMBER:
            columns[feature.name] = np.array(values, dtype=np.float64)
        elif feature.measure is Measure.CATEGORY:
            columns[feature.name] = values
    return pd.DataFrame(columns)
