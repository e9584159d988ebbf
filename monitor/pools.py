"""Counts words and labels of windows, and takes the newest windows together; pure."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from monitor.bursts import NO_BURSTS, Bursts, bursts_of, design_effects, pooled
from monitor.calibration import Array
from monitor.row_signals import Row, Signalled

HORIZONS = (1, 2, 3, 6)
"""Newest windows that are pooled: a large change shows in one, a change of one row in twenty needs several."""


@dataclass(frozen=True)
class Tallied:
    """Signalled rows with the counts of all that the scan compares."""

    rows: tuple[Row, ...]
    values: Array
    prompt_tokens: Counter[str]
    answer_tokens: Counter[str]
    labels: Counter[str]
    bursts: Bursts


NO_LABEL = "(none)"


def tallied(signalled: Signalled, *, is_in_time: bool = True) -> Tallied:
    """Count words and labels of rows; those that are no sequence, such as judged items, have no bursts."""
    rows = signalled.rows
    return Tallied(
        rows=rows,
        values=signalled.values,
        prompt_tokens=Counter(token for row in rows for token in row.prompt.distinct),
        answer_tokens=Counter(token for row in rows for token in row.answer.distinct),
        labels=Counter(row.observation.label or NO_LABEL for row in rows),
        bursts=bursts_of(signalled) if is_in_time else NO_BURSTS,
    )


@dataclass(frozen=True)
class Pool:
    """Newest windows taken together, beside the reference."""

    windows: int
    rows: int
    values: Array
    prompt_tokens: Counter[str]
    answer_tokens: Counter[str]
    labels: Counter[str]
    effects: Array
    """Design effect of each signal."""
    effect: float
    """That of words and labels."""


def pool_of(windows: Sequence[Tallied]) -> Pool:
    """Take windows together."""
    bursts = pooled([window.bursts for window in windows])
    effect, effects = design_effects(bursts)

    def summed(counters: Iterator[Counter[str]]) -> Counter[str]:
        found: Counter[str] = Counter()
        for counter in counters:
            found.update(counter)
        return found

    return Pool(
        windows=len(windows),
        rows=sum(len(window.rows) for window in windows),
        values=np.concatenate([window.values for window in windows]),
        prompt_tokens=summed(window.prompt_tokens for window in windows),
        answer_tokens=summed(window.answer_tokens for window in windows),
        labels=summed(window.labels for window in windows),
        effects=effects,
        effect=effect,
    )


def pools_of(windows: Sequence[Tallied]) -> list[Pool]:
    """Return the pools of all horizons that differ; the newest window is the last."""
    sizes = sorted({min(horizon, len(windows)) for horizon in HORIZONS})
    return [pool_of(windows[-size:]) for size in sizes]
