"""Two windows become one judgment per kind of drift, over all its features at once.

Statistics: the two-sample Kolmogorov-Smirnov distance for numbers, total variation for categories, and the
squared maximum mean discrepancy (Gretton et al. 2012, JMLR 13, eq. 5) with a cosine kernel for texts. All are
computed for every permutation in one go, on the window size at hand.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from driftwheel.records import DriftKind
from monitor import features
from monitor.calibration import Array, Judgment, judge
from monitor.windows import Observation


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


def judge_input(
    reference: Sequence[Observation], current: Sequence[Observation], *, level: float, permutations: int, seed: int
) -> KindJudgment:
    """Compare what users ask."""
    pooled = [*reference, *current]
    is_current = _dealt_out(len(reference), len(current), permutations, seed)
    columns = {name: ("ks", _ks(v, is_current)) for name, v in features.input_numbers(pooled).items()}
    columns["prompt_embedding"] = ("mmd", _mmd(features.similarity([r.prompt for r in pooled]), is_current))
    return _judge(DriftKind.INPUT, columns, level)


def judge_output(
    reference: Sequence[Observation], current: Sequence[Observation], *, level: float, permutations: int, seed: int
) -> KindJudgment:
    """Compare what the model answers."""
    pooled = [*reference, *current]
    is_current = _dealt_out(len(reference), len(current), permutations, seed)
    columns = {name: ("ks", _ks(v, is_current)) for name, v in features.output_numbers(pooled).items()}
    columns["answer_label"] = ("total variation", _total_variation(features.labels(pooled), is_current))
    return _judge(DriftKind.OUTPUT, columns, level)


def _judge(kind: DriftKind, columns: dict[str, tuple[str, Array]], level: float) -> KindJudgment:
    statistics = np.stack([values for _, values in columns.values()], axis=1)
    judgment = judge(statistics[0], statistics[1:], level)
    scores = [
        FeatureScore(name, method, float(judgment.feature_scores[i]), float(judgment.feature_p_values[i]))
        for i, (name, (method, _)) in enumerate(columns.items())
    ]
    return KindJudgment(kind, judgment, scores)


def _dealt_out(reference_rows: int, current_rows: int, permutations: int, seed: int) -> Array:
    """Return which pooled rows count as current, of shape (1 + permutations, rows); the first row is what was seen."""
    seen = np.concatenate([np.zeros(reference_rows), np.ones(current_rows)])
    generator = np.random.default_rng(seed)
    return np.stack([seen, *(generator.permutation(seen) for _ in range(permutations))])


def _ks(values: Array, is_current: Array) -> Array:
    """Return the KS distance of each dealing; ties are stepped over together."""
    order = np.argsort(values, kind="stable")
    ordered = is_current[:, order]
    current_rows = ordered[0].sum()
    reference_rows = ordered.shape[1] - current_rows
    gap = np.abs(np.cumsum(ordered, axis=1) / current_rows - np.cumsum(1 - ordered, axis=1) / reference_rows)
    last_of_tie = np.append(np.diff(values[order]) > 0, True)
    return np.asarray(gap[:, last_of_tie].max(axis=1), dtype=np.float64)


def _total_variation(values: Sequence[str], is_current: Array) -> Array:
    names = sorted(set(values))
    one_hot = np.array([[value == name for name in names] for value in values], dtype=np.float64)
    current_rows = is_current[0].sum()
    current = is_current @ one_hot / current_rows
    reference = (1 - is_current) @ one_hot / (len(values) - current_rows)
    return np.asarray(0.5 * np.abs(current - reference).sum(axis=1), dtype=np.float64)


def _mmd(kernel: Array, is_current: Array) -> Array:
    """Return the biased squared MMD of each dealing."""
    current_rows = is_current[0].sum()
    weights = is_current / current_rows - (1 - is_current) / (len(kernel) - current_rows)
    return np.asarray(np.einsum("pi,pi->p", weights @ kernel, weights), dtype=np.float64)
