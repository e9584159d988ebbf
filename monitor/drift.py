"""Judges a window against its reference: one drift score per kind, over all features at once.

Statistics: the two-sample Kolmogorov-Smirnov distance for numbers, total variation for categories, and the
squared maximum mean discrepancy (Gretton et al. 2012, JMLR 13, eq. 5) with a cosine kernel for texts. All are
computed for every permutation in one go, on the window size at hand. Where neighbours in time are alike, the permuted
statistics are widened by the design effect: a window of bursts is worth fewer rows than it has.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.stats import rankdata

from driftwheel.diagnosis import Diagnosis
from driftwheel.records import DriftKind
from monitor.calibration import Array, Judgment, judge
from monitor.dependence import design_effect_of, widened
from monitor.features import FEATURES, Feature, Measure
from monitor.observation import Observation
from monitor.scan import Scan
from monitor.wording import similarity, word_vectors


@dataclass(frozen=True)
class FeatureScore:
    """One feature of a kind."""

    feature: str
    method: str
    score: float
    p_value: float


@dataclass(frozen=True)
class KindJudgment:
    """A kind of drift, with its features."""

    kind: DriftKind
    judgment: Judgment
    features: list[FeatureScore]
    scan: Scan | None = None
    """What single signals, words and labels say; None where the reference has too few rows."""
    diagnosis: Diagnosis | None = None
    """What changed, where the kind is over its threshold."""

    @property
    def is_over(self) -> bool:
        """Whether either of both tests is over its threshold."""
        return self.judgment.is_over or (self.scan is not None and self.scan.is_over)

    @property
    def is_slow(self) -> bool:
        """Whether only several windows together are over it."""
        return not self.judgment.is_over and self.scan is not None and self.scan.is_slow


def deal_out(reference_rows: int, current_rows: int, permutations: int, seed: int) -> Array:
    """Return which pooled rows count as current, of shape (1 + permutations, rows); the first row is what was seen."""
    seen = np.concatenate([np.zeros(reference_rows), np.ones(current_rows)])
    dealt = np.random.default_rng(seed).permuted(np.tile(seen, (permutations, 1)), axis=1)
    return np.concatenate([seen[np.newaxis], dealt])


def judge_kind(
    kind: DriftKind,
    reference: Sequence[Observation],
    current: Sequence[Observation],
    *,
    level: float,
    permutations: int,
    seed: int,
    features: Sequence[Feature] = FEATURES,
) -> KindJudgment:
    """Compare a window with a reference by every feature of one kind."""
    judged = [feature for feature in features if feature.kind is kind]
    pooled, is_current = [*reference, *current], deal_out(len(reference), len(current), permutations, seed)
    values = [[f.value(row) for row in pooled] for f in judged]
    statistics = [STATISTICS[f.measure](of, is_current) for f, of in zip(judged, values, strict=True)]
    table = np.stack(statistics, axis=1)
    for column, (feature, of) in enumerate(zip(judged, values, strict=True)):
        now, before = (design_effect_of(PRODUCTS[feature.measure](part)) for part in _in_time(of, reference, current))
        rows = (len(current), len(reference))
        table[1:, column] = widened(table[1:, column], now, before, rows, POWERS[feature.measure])
    judgment = judge(table[0], table[1:], level)
    scores = [
        FeatureScore(f.name, f.measure, float(judgment.feature_scores[i]), float(judgment.feature_p_values[i]))
        for i, f in enumerate(judged)
    ]
    return KindJudgment(kind, judgment, scores)


def _in_time(
    values: Sequence[Any], reference: Sequence[Observation], current: Sequence[Observation]
) -> tuple[Sequence[Any], Sequence[Any]]:
    """Return the values of the window and of the reference; of judged items none, because they are a random sample."""
    of_reference = values[: len(reference)] if all(row.at is not None for row in reference) else ()
    return (values[len(reference) :] if all(row.at is not None for row in current) else ()), of_reference


def _rank_products(values: Sequence[Any]) -> Array:
    ranks = rankdata(values) if len(values) else np.zeros(0)
    return np.outer(ranks, ranks) / max(1, len(ranks)) ** 2


def _equalities(values: Sequence[Any]) -> Array:
    places = np.unique(np.asarray(values, dtype=str), return_inverse=True)[1] if len(values) else np.zeros(0)
    return np.equal.outer(places, places).astype(np.float64)


def _text_products(values: Sequence[Any]) -> Array:
    return similarity(values) if len(values) else np.zeros((0, 0))


PRODUCTS: dict[Measure, Callable[[Sequence[Any]], Array]] = {
    Measure.NUMBER: _rank_products,
    Measure.CATEGORY: _equalities,
    Measure.TEXT: _text_products,
}
"""Scalar products of the values of a feature, which say how alike neighbours in time are."""
POWERS = {Measure.NUMBER: 0.5, Measure.CATEGORY: 0.5, Measure.TEXT: 1.0}
"""Of the squared distance of two means with which a statistic grows: KS distance and total variation are no squares."""


def ks(values: Sequence[Any], is_current: Array) -> Array:
    """Return the KS distance of each dealing; ties are stepped over together."""
    numbers = np.asarray(values, dtype=np.float64)
    order = np.argsort(numbers, kind="stable")
    rows, current_rows = len(numbers), is_current[0].sum()
    reference_rows = rows - current_rows
    # What is no current row is a reference row: one count of the current ones gives both distributions.
    current_count = np.cumsum(is_current[:, order], axis=1)
    gap = current_count * (1 / current_rows + 1 / reference_rows) - np.arange(1, rows + 1) / reference_rows
    last_of_tie = np.append(np.diff(numbers[order]) > 0, True)
    return np.asarray(np.abs(gap[:, last_of_tie]).max(axis=1), dtype=np.float64)


def total_variation(values: Sequence[Any], is_current: Array) -> Array:
    """Return half the sum of the differences of the categories' shares, for each dealing."""
    names, places = np.unique(np.asarray(values, dtype=str), return_inverse=True)
    rows, current_rows = len(values), is_current[0].sum()
    one_hot = sparse.csr_array((np.ones(rows), (places, np.arange(rows))), shape=(len(names), rows))
    difference = one_hot @ (is_current / current_rows - (1 - is_current) / (rows - current_rows)).T
    return np.asarray(0.5 * np.abs(difference).sum(axis=0), dtype=np.float64)


def squared_mmd(texts: Sequence[Any], is_current: Array) -> Array:
    """Return the biased squared MMD of each dealing: with a linear kernel, the distance of the two mean vectors."""
    vectors = word_vectors(texts)
    vectors = vectors[:, np.unique(vectors.indices)]  # of all hashed words, those that occur
    current_rows = is_current[0].sum()
    weights = is_current / current_rows - (1 - is_current) / (len(texts) - current_rows)
    return np.asarray(np.square(vectors.T @ weights.T).sum(axis=0), dtype=np.float64)


STATISTICS: dict[Measure, Callable[[Sequence[Any], Array], Array]] = {
    Measure.NUMBER: ks,
    Measure.CATEGORY: total_variation,
    Measure.TEXT: squared_mmd,
}
"""What compares the values of a feature, for each dealing."""
