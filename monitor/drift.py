"""Judges a window against its reference: one drift score per kind, over all features at once.

Statistics: the two-sample Kolmogorov-Smirnov distance for numbers, total variation for categories, and the
squared maximum mean discrepancy (Gretton et al. 2012, JMLR 13, eq. 5) with a cosine kernel for texts. All are
computed for every permutation in one go, on the window size at hand. Where neighbours in time are alike, the permuted
statistics are widened by the design effect: a window of bursts is worth fewer rows than it has.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.stats import rankdata

from driftwheel.records.diagnosis import Diagnosis
from driftwheel.records.nouns import DriftKind
from monitor.calibration import Array, Judgment, judge
from monitor.dependence import INDEPENDENT, DesignEffect, design_effect_of, widened
from monitor.features import FEATURES, Feature, Measure
from monitor.observation import Observation
from monitor.scan import Scan
from monitor.wording import similarity, word_vectors

MOST_DEALT, MOST_IN_TIME = 5_000, 2_000
"""Rows of each side that are dealt out, and rows whose products with each other say how alike neighbours are."""


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


@lru_cache(maxsize=2)  # prompts and answers are dealt out alike; nobody writes into it
def deal_out(reference_rows: int, current_rows: int, permutations: int, seed: int) -> Array:
    """Return which pooled rows count as current, of shape (1 + permutations, rows); the first row is what was seen.

    The dealings of one row lie side by side in memory: each statistic multiplies by the transpose, which would else be
    copied for every one of them.
    """
    # Bytes are shuffled as floats are, into the same order, and there is an eighth of them to move.
    seen = np.concatenate([np.zeros(reference_rows, np.uint8), np.ones(current_rows, np.uint8)])
    dealt = np.random.default_rng(seed).permuted(np.tile(seen, (permutations, 1)), axis=1)
    return np.ascontiguousarray(np.concatenate([seen[np.newaxis], dealt]).T, dtype=np.float64).T


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
    before, now = _thinned(reference), _thinned(current)
    pooled, is_current = [*before, *now], deal_out(len(before), len(now), permutations, seed)
    statistics = [STATISTICS[f.measure]([f.value(row) for row in pooled], is_current) for f in judged]
    table = np.stack(statistics, axis=1)
    for column, feature in enumerate(judged):
        of_now = _design_effect(feature.measure, _in_time(feature, current))
        of_before = _design_effect_kept(feature.measure, _in_time(feature, reference))
        sizes = (len(now), len(before))
        table[1:, column] = widened(table[1:, column], of_now, of_before, sizes, POWERS[feature.measure])
    judgment = judge(table[0], table[1:], level)
    scores = [
        FeatureScore(f.name, f.measure, float(judgment.feature_scores[i]), float(judgment.feature_p_values[i]))
        for i, f in enumerate(judged)
    ]
    return KindJudgment(kind, judgment, scores)


def _thinned(rows: Sequence[Observation]) -> Sequence[Observation]:
    """Return rows evenly drawn from many: more tell little more, and each is dealt out hundreds of times."""
    return rows[:: -(-len(rows) // MOST_DEALT)] if len(rows) > MOST_DEALT else rows


def _in_time(feature: Feature, rows: Sequence[Observation]) -> tuple[Any, ...]:
    """Return values of neighbours in time; of judged items none, because they are a random sample."""
    is_in_time = all(row.at is not None for row in rows)
    return tuple(feature.value(row) for row in rows[:MOST_IN_TIME]) if is_in_time else ()


def _design_effect(measure: Measure, values: tuple[Any, ...]) -> DesignEffect:
    return design_effect_of(PRODUCTS[measure](values)) if values else INDEPENDENT


_design_effect_kept = lru_cache(maxsize=16)(_design_effect)
"""Of a reference, which is the same at each check."""


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
    # Equal numbers are one step of both distributions, and there are far fewer numbers than rows.
    one_hot, rows, current_rows = _one_hot(np.asarray(values, dtype=np.float64), is_current)
    current_count, all_count = np.cumsum(one_hot @ is_current.T, axis=0), np.cumsum(one_hot.sum(axis=1))
    reference_count = all_count[:, np.newaxis] - current_count
    gap = np.abs(current_count / current_rows - reference_count / (rows - current_rows))
    return np.asarray(gap.max(axis=0), dtype=np.float64)


def _one_hot(values: npt.NDArray[Any], is_current: Array) -> tuple[Any, int, float]:
    """Return which row has which of the sorted values, of shape (values, rows), and the rows of both and of one."""
    names, places = np.unique(values, return_inverse=True)
    rows = len(values)
    table = sparse.csr_array((np.ones(rows), (places, np.arange(rows))), shape=(len(names), rows))
    return table, rows, float(is_current[0].sum())


def total_variation(values: Sequence[Any], is_current: Array) -> Array:
    """Return half the sum of the differences of the categories' shares, for each dealing."""
    one_hot, rows, current_rows = _one_hot(np.asarray(values, dtype=str), is_current)
    current_count, all_count = one_hot @ is_current.T, one_hot.sum(axis=1)
    reference_count = all_count[:, np.newaxis] - current_count
    difference = current_count / current_rows - reference_count / (rows - current_rows)
    return np.asarray(0.5 * np.abs(difference).sum(axis=0), dtype=np.float64)


def squared_mmd(texts: Sequence[Any], is_current: Array) -> Array:
    """Return the biased squared MMD of each dealing: with a linear kernel, the distance of the two mean vectors."""
    current_rows = int(is_current[0].sum())
    split = len(texts) - current_rows
    # A row that counts as current has the weight 1/current, another -1/reference: that is `step` for the one, less
    # `before` for every row, so that only the current rows of a dealing have to be added up.
    step, before = 1 / current_rows + 1 / split, 1 / split
    by_word = word_vectors(texts[:split], texts[split:]).T.tocsr()
    texts_with = np.diff(by_word.indptr)
    shared = by_word[texts_with > 1]
    means = shared @ is_current.T
    means *= step
    means -= before * np.asarray(shared.sum(axis=1)).reshape(-1, 1)
    # A word of one text, as most pairs are, adds its square, by whether that text counts as current: no sums needed.
    places = by_word.indptr[:-1][texts_with == 1]
    squares = np.bincount(by_word.indices[places], np.square(by_word.data[places]), len(texts))
    alone = np.einsum("ij,j->i", is_current, squares * ((step - before) ** 2 - before**2)) + squares.sum() * before**2
    return np.asarray(np.einsum("ij,ij->j", means, means) + alone, dtype=np.float64)


STATISTICS: dict[Measure, Callable[[Sequence[Any], Array], Array]] = {
    Measure.NUMBER: ks,
    Measure.CATEGORY: total_variation,
    Measure.TEXT: squared_mmd,
}
"""What compares the values of a feature, for each dealing."""
