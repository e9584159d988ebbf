"""Counts words and labels of windows, and takes the newest windows together; pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain, islice, repeat

import numpy as np

from monitor.bursts import NO_BURSTS, Bursts, bursts_of, design_effects, pooled
from monitor.calibration import Array
from monitor.ranks import TAILS, UPPER_TAILS, Ranked, ranked
from monitor.row_signals import SIGNALS, Row, Signalled

HORIZONS = (1, 2, 3, 6)
"""Newest windows that are pooled: a large change shows in one, a change of one row in twenty needs several."""


@dataclass(frozen=True, eq=False)
class Tallied:
    """Signalled rows with the counts of all that the scan compares; each is the same as itself alone."""

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

    def tokens_of_prompts(self) -> Iterable[str]:
        """Each prompt's words and pairs, once for each prompt that has them."""
        return chain.from_iterable(row.prompt.distinct for row in self.rows)

    def tokens_of_answers(self) -> Iterable[str]:
        """The same of the answers."""
        return chain.from_iterable(row.answer.distinct for row in self.rows)


NO_LABEL = "(none)"


def tallied(signalled: Signalled, *, is_in_time: bool = True) -> Tallied:
    """Count words and labels of rows; those that are no sequence, such as judged items, have no bursts."""
    rows = signalled.rows
    return Tallied(
        rows=rows,
        values=signalled.values,
        prompt_tokens=Counter(chain.from_iterable(row.prompt.distinct for row in rows)),
        answer_tokens=Counter(chain.from_iterable(row.answer.distinct for row in rows)),
        labels=Counter(row.observation.label or NO_LABEL for row in rows),
        bursts=bursts_of(signalled) if is_in_time else NO_BURSTS,
    )


@dataclass(frozen=True, eq=False)
class Pool:
    """Newest windows taken together, beside the reference."""

    of: tuple[Tallied, ...]
    """The newest is the last one."""
    rows: int
    labels: Counter[str]
    effects: Array
    """Design effect of each signal."""
    effect: float
    """That of words and labels."""

    @property
    def windows(self) -> int:
        """How many windows they are."""
        return len(self.of)


def pools_of(windows: Sequence[Tallied]) -> tuple[Pool, ...]:
    """Return the pools of all horizons that differ, each beginning with the windows of the one before; newest last."""
    return _pools_of(tuple(windows))


@lru_cache(maxsize=2)  # prompts and answers are of the same windows
def _pools_of(windows: tuple[Tallied, ...]) -> tuple[Pool, ...]:
    sizes = sorted({min(horizon, len(windows)) for horizon in HORIZONS})
    return tuple(_pool_of(windows[-size:]) for size in sizes)


def _pool_of(windows: tuple[Tallied, ...]) -> Pool:
    effect, effects = design_effects(pooled([window.bursts for window in windows]))
    labels = Counter[str]()
    for window in windows:
        labels.update(window.labels)
    return Pool(windows, sum(len(window.rows) for window in windows), labels, effects, effect)


def summed(pools: Sequence[Pool], of_window: Sequence[Array]) -> Array:
    """Return what is known of each window of the largest pool, added up for each pool."""
    from_newest = np.cumsum(np.stack(of_window[::-1]), axis=0)
    return np.asarray(from_newest[[pool.windows - 1 for pool in pools]])


@dataclass(frozen=True)
class Said:
    """The words and word pairs that are often in the largest of some pools, and how often in each."""

    words: tuple[str, ...]
    """In the order of the alphabet, and then the pairs in it."""
    pairs: tuple[str, ...]
    hits: Array
    """Of shape (pools, words and pairs)."""
    distinct_words: Array
    """How many different words each pool has."""
    distinct_pairs: Array


def said_in(pools: Sequence[Pool], counts: Sequence[Counter[str]], tokens: Sequence[Iterable[str]], least: int) -> Said:
    """Count the tokens of pools, given those of the windows of the largest, counted and one by one, the newest last."""
    total, distinct, done = Counter[str](), list[tuple[int, int]](), 0
    for pool in pools:
        before = len(total)
        for place in range(done, pool.windows):
            # A counter is added to another one by a loop of Python, and an iterable is counted by C.
            total.update(tokens[-1 - place])
        done = pool.windows
        new = sum(" " in name for name in islice(total, before, None))  # keys stay in the order in which they came
        pairs = new + (distinct[-1][1] if distinct else 0)
        distinct.append((len(total) - pairs, pairs))
    # In the order of the alphabet, so that of two that are as unlikely the same one comes first in each process.
    often = sorted([name for name, hits in total.items() if hits >= least])
    words, pairs_often = [name for name in often if " " not in name], [name for name in often if " " in name]
    names = [*words, *pairs_often]
    of_window = [np.fromiter(map(count.get, names, repeat(0)), np.float64, len(names)) for count in counts]
    singles, twos = np.array(distinct, dtype=np.float64).T
    return Said(tuple(words), tuple(pairs_often), summed(pools, of_window), singles, twos)
