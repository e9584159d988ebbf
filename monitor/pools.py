"""Counts words and labels of windows, and takes the newest windows together; pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np

from monitor.bursts import NO_BURSTS, Bursts, bursts_of, design_effects, pooled
from monitor.calibration import Array
from monitor.ranks import TAILS, UPPER_TAILS, Ranked, ranked
from monitor.row_signals import SIGNALS, Row, Signalled

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
    effect: float = 1.0
    """By how much less its rows say than independent ones, where they are what others are compared with."""

    @cached_property
    def ranked(self) -> tuple[Ranked, ...]:
        """The values of each signal in order; a reference's are asked at each check."""
        return tuple(
            ranked(column, UPPER_TAILS if signal.is_one_sided else TAILS)
            for signal, column in zip(SIGNALS, self.values.T, strict=True)
        )


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


@dataclass(frozen=True)
class _Counts:
    """Counts of newest windows."""

    prompt_tokens: Counter[str]
    answer_tokens: Counter[str]
    labels: Counter[str]

    def with_(self, windows: Sequence[Tallied]) -> "_Counts":
        """Return the same with those of more windows; nobody writes into counts that are there."""
        found = _Counts(self.prompt_tokens.copy(), self.answer_tokens.copy(), self.labels.copy())
        for window in windows:
            # From the rows: a counter is added to another one by a loop of Python, and an iterable is counted by C.
            found.prompt_tokens.update(chain.from_iterable(row.prompt.distinct for row in window.rows))
            found.answer_tokens.update(chain.from_iterable(row.answer.distinct for row in window.rows))
            found.labels.update(window.labels)
        return found


def _pool_of(windows: Sequence[Tallied], counts: _Counts) -> Pool:
    effect, effects = design_effects(pooled([window.bursts for window in windows]))
    return Pool(
        windows=len(windows),
        rows=sum(len(window.rows) for window in windows),
        values=np.concatenate([window.values for window in windows]),
        prompt_tokens=counts.prompt_tokens,
        answer_tokens=counts.answer_tokens,
        labels=counts.labels,
        effects=effects,
        effect=effect,
    )


def pools_of(windows: Sequence[Tallied]) -> list[Pool]:
    """Return the pools of all horizons that differ; the newest window is the last."""
    pools, counts = list[Pool](), _Counts(Counter(), Counter(), Counter())
    for size in sorted({min(horizon, len(windows)) for horizon in HORIZONS}):
        # The larger pool holds the smaller one, and only what it has beyond that is counted.
        counted = pools[-1].windows if pools else 0
        counts = counts.with_(windows[len(windows) - size : len(windows) - counted])
        pools.append(_pool_of(windows[-size:], counts))
    return pools
