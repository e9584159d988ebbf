"""Judges a window against its reference: one drift score per kind, over all features at once.

Statistics: the two-sample Kolmogorov-Smirnov distance for numbers, total variation for categories, and the
squared maximum mean discrepancy (Gretton et al. 2012, JMLR 13, eq. 5) with a cosine kernel for texts. All are
computed for many permutations in one go, on the window size at hand. Where neighbours in time are alike, the permuted
statistics are widened by the design effect: a window of bursts is worth fewer rows than it has.

Most windows are plainly steady after the first dealings already, and are dealt out no more (Besag and Clifford,
Biometrika 78, 1991, who stop after a number of exceedances). That errs on the quiet side: a window is over only if it
is so by all of the dealings. Its p-value stays valid: a smaller one than that at which windows are settled is of all
dealings, a larger one of the first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from driftwheel.records.diagnosis import Diagnosis
from driftwheel.records.nouns import DriftKind
from monitor.calibration import Array, Judgment, judge
from monitor.dependence import INDEPENDENT, DesignEffect, design_effect_of, widened
from monitor.features import FEATURES, Feature, Measure
from monitor.observation import Observation
from monitor.scan import Scan
from monitor.wording import word_vectors

MOST_DEALT, MOST_IN_TIME = 5_000, 2_000
"""Rows of each side that are dealt out, and rows that say how alike neighbours are."""
FIRST_DEALINGS, FEWEST_BEYOND, TIMES_THE_LEVEL = 100, 10, 4
"""A window is settled if so many of the first dealings are as far out as it is: ten tell their share to about a third.

Four times as many as the level allows are there by chance once in a million windows that all dealings would call over.
"""


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


@lru_cache(maxsize=4)  # prompts and answers are dealt out alike; nobody writes into it
def deal_out(reference_rows: int, current_rows: int, permutations: int, seed: int) -> Array:
    """Return which pooled rows count as current, of shape (1 + permutations, rows); the first row is what was seen.

    More dealings begin with those that fewer have. The dealings of one row lie side by side in memory: each statistic
    multiplies by the transpose, which would else be copied for every one of them.
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
    family = [_compared(feature, reference, current) for feature in judged]
    sizes = len(_thinned(reference)), len(_thinned(current))
    first = min(permutations, FIRST_DEALINGS)
    judgment = _judged(family, deal_out(*sizes, first, seed), level)
    if first < permutations and not _is_settled(judgment, level):
        judgment = _judged(family, deal_out(*sizes, permutations, seed), level)
    scores = [
        FeatureScore(f.name, f.measure, float(judgment.feature_scores[i]), float(judgment.feature_p_values[i]))
        for i, f in enumerate(judged)
    ]
    return KindJudgment(kind, judgment, scores)


def _is_settled(judgment: Judgment, level: float) -> bool:
    """Say whether so many of the first dealings are as far out that more of them cannot make a window be over."""
    return judgment.beyond >= max(FEWEST_BEYOND, TIMES_THE_LEVEL * level * FIRST_DEALINGS)


@dataclass(frozen=True, kw_only=True)
class _Compared:
    """A feature of both sides, and how bursty each of them is."""

    measure: Measure
    statistic: "Statistic"
    sizes: tuple[int, int]
    """Rows of window and reference that are dealt out."""
    of_current: DesignEffect
    of_reference: DesignEffect

    def values(self, is_current: Array) -> Array:
        """Return the statistic of each dealing, those that were not seen widened."""
        found = self.statistic(is_current)
        dealt = widened(found[1:], self.of_current, self.of_reference, self.sizes, POWERS[self.measure])
        return np.concatenate([found[:1], dealt])


def _compared(feature: Feature, reference: Sequence[Observation], current: Sequence[Observation]) -> _Compared:
    before, now = _thinned(reference), _thinned(current)
    return _Compared(
        measure=feature.measure,
        statistic=STATISTICS[feature.measure]([feature.value(row) for row in (*before, *now)], len(now)),
        sizes=(len(now), len(before)),
        of_current=_design_effect(feature.measure, _in_time(feature, current)),
        of_reference=_design_effect_kept(feature.measure, _in_time(feature, reference)),
    )


def _judged(family: Sequence[_Compared], is_current: Array, level: float) -> Judgment:
    table = np.stack([one.values(is_current) for one in family], axis=1)
    return judge(table[0], table[1:], level)


def _thinned(rows: Sequence[Observation]) -> Sequence[Observation]:
    """Return rows evenly drawn from many: more tell little more, and each is dealt out hundreds of times."""
    return rows[:: -(-len(rows) // MOST_DEALT)] if len(rows) > MOST_DEALT else rows


def _in_time(feature: Feature, rows: Sequence[Observation]) -> tuple[Any, ...]:
    """Return values of neighbours in time; of judged items none, because they are a random sample."""
    is_in_time = all(row.at is not None for row in rows)
    return tuple(feature.value(row) for row in rows[:MOST_IN_TIME]) if is_in_time else ()


def _design_effect(measure: Measure, values: tuple[Any, ...]) -> DesignEffect:
    return design_effect_of(VECTORS[measure](values)) if values else INDEPENDENT


_design_effect_kept = lru_cache(maxsize=16)(_design_effect)
"""Of a reference, which is the same at each check."""


def _ranks(values: Sequence[Any]) -> Array:
    """Return the mid-ranks as shares, because one long row must not decide."""
    _, places, counts = np.unique(np.asarray(values, np.float64), return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[places, np.newaxis] / len(values))


def _categories(values: Sequence[Any]) -> Any:
    return _one_hot(np.asarray(values, dtype=str)).T.tocsr()


VECTORS: dict[Measure, Callable[[Sequence[Any]], Any]] = {
    Measure.NUMBER: _ranks,
    Measure.CATEGORY: _categories,
    Measure.TEXT: word_vectors,
}
"""The values of a feature as vectors, whose products say how alike neighbours in time are."""
POWERS = {Measure.NUMBER: 0.5, Measure.CATEGORY: 0.5, Measure.TEXT: 1.0}
"""Of the squared distance of two means with which a statistic grows: KS distance and total variation are no squares."""
Statistic = Callable[[Array], Array]
"""Returns the statistic of each dealing."""


def ks(values: Sequence[Any], current_rows: int) -> Statistic:
    """Return what gives the KS distance of each dealing; ties are stepped over together."""
    # Equal numbers are one step of both distributions, and there are far fewer numbers than rows.
    one_hot = _one_hot(np.asarray(values, dtype=np.float64))

    def distances(is_current: Array) -> Array:
        gap = np.abs(np.cumsum(_gaps(one_hot, is_current, current_rows), axis=0))
        return np.asarray(gap.max(axis=0), dtype=np.float64)

    return distances


def _one_hot(values: npt.NDArray[Any]) -> Any:
    """Return which row has which of the sorted values, of shape (values, rows)."""
    names, places = np.unique(values, return_inverse=True)
    rows = len(values)
    return sparse.csr_array((np.ones(rows), (places, np.arange(rows))), shape=(len(names), rows))


def _gaps(one_hot: Any, is_current: Array, current_rows: int) -> Array:
    """Return by how much larger each value's share among the current rows of a dealing is than among the others."""
    reference_rows = one_hot.shape[1] - current_rows
    share = one_hot @ is_current.T
    share *= 1 / current_rows + 1 / reference_rows
    share -= np.asarray(one_hot.sum(axis=1)).reshape(-1, 1) / reference_rows
    return np.asarray(share)


def total_variation(values: Sequence[Any], current_rows: int) -> Statistic:
    """Return what gives half the sum of the differences of the categories' shares, for each dealing."""
    one_hot = _one_hot(np.asarray(values, dtype=str))

    def distances(is_current: Array) -> Array:
        return np.asarray(0.5 * np.abs(_gaps(one_hot, is_current, current_rows)).sum(axis=0), dtype=np.float64)

    return distances


def squared_mmd(texts: Sequence[Any], current_rows: int) -> Statistic:
    """Return what gives the biased squared MMD of each dealing: with a linear kernel, the distance of two means."""
    split = len(texts) - current_rows
    # A row that counts as current has the weight 1/current, another -1/reference: that is `step` for the one, less
    # `before` for every row, so that only the current rows of a dealing have to be added up.
    step, before = 1 / current_rows + 1 / split, 1 / split
    by_word = word_vectors(texts[:split], texts[split:]).T.tocsr()
    texts_with = np.diff(by_word.indptr)
    shared = by_word[texts_with > 1]
    less = before * np.asarray(shared.sum(axis=1)).reshape(-1, 1)
    # A word of one text, as most pairs are, adds its square, by whether that text counts as current: no sums needed.
    places = by_word.indptr[:-1][texts_with == 1]
    squares = np.bincount(by_word.indices[places], np.square(by_word.data[places]), len(texts))

    def distances(is_current: Array) -> Array:
        means = shared @ is_current.T
        means *= step
        means -= less
        alone = np.einsum("ij,j->i", is_current, squares * ((step - before) ** 2 - before**2))
        alone += squares.sum() * before**2
        return np.asarray(np.einsum("ij,ij->j", means, means) + alone, dtype=np.float64)

    return distances


STATISTICS: dict[Measure, Callable[[Sequence[Any], int], Statistic]] = {
    Measure.NUMBER: ks,
    Measure.CATEGORY: total_variation,
    Measure.TEXT: squared_mmd,
}
"""What compares the values of a feature: those of the reference, and then so many of the window."""
