"""Scans the newest windows for anything that became more or less frequent: signals, words, labels; pure.

A distance between all words of two samples drowns what one row in ten is about, and a test of each word, label and
signal does not: what is new is mostly said in a few words of its own. Each test gets its share of the level
(Bonferroni), over 1, 2, 3 and 6 newest windows pooled. Shares are compared by Chernoff's bound on the conditional
distribution, exp(-log likelihood ratio), which holds for small counts as well; means of ranks by the normal
distribution. Counts are divided by the design effect of the bursts that they came in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np
from scipy.special import ndtr

from driftwheel.records.nouns import DriftKind
from monitor.background import Background
from monitor.calibration import Array
from monitor.pools import HORIZONS, Pool, Tallied, said_in, summed
from monitor.ranks import ranks_in_order
from monitor.row_signals import SIGNALS
from monitor.shares import Before, p_values_of


class What(StrEnum):
    """What was counted."""

    SIGNAL = "signal"
    WORD = "word"
    LABEL = "label"


SHARE_OF_RISES = 0.8
FEWEST_HITS, SHARE_OF_WORDS = 3, 0.75
"""Words and pairs that are said less often are not compared; single words get most of the level, as they are fewer."""
SHARES = {
    DriftKind.INPUT: {What.SIGNAL: 0.5, What.WORD: 0.5},
    DriftKind.OUTPUT: {What.SIGNAL: 0.25, What.WORD: 0.25, What.LABEL: 0.5},
}
"""How the level is shared among what is compared."""


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """One thing whose share or mean differs from before."""

    what: What
    name: str
    before: float
    now: float
    p_value: float
    """Times the number of tests; 1 at most."""
    windows: int


@dataclass(frozen=True)
class Scan:
    """What a kind of drift shows, the least likely first."""

    kind: DriftKind
    level: float
    sightings: tuple[Sighting, ...]
    p_alone: float
    """Of the newest window alone."""

    @property
    def p_value(self) -> float:
        """Chance of the least likely sighting, or a less likely one, if nothing had changed."""
        return self.sightings[0].p_value if self.sightings else 1.0

    @property
    def is_over(self) -> bool:
        """Whether anything is beyond its share of the level."""
        return self.p_value < self.level

    @property
    def is_slow(self) -> bool:
        """Whether it takes several windows together to see it."""
        return self.is_over and self.p_alone >= self.level


def scan(kind: DriftKind, reference: Tallied, pools: Sequence[Pool], background: Background, *, level: float) -> Scan:
    """Compare newest windows with the reference, and prompts with the training texts too, in all that is of a kind."""
    factor = {what: len(HORIZONS) / share for what, share in SHARES[kind].items()}
    of_pools = [
        _signals(kind, reference, pools, factor[What.SIGNAL]),
        _tokens(kind, reference, pools, background, factor[What.WORD]),
    ]
    if kind is DriftKind.OUTPUT:
        of_pools.append(_labels(reference, pools, factor[What.LABEL]))
    # Pool after pool: of two sightings of a thing that are as unlikely, the smaller pool's is told.
    found = [one for of_pool in zip(*of_pools, strict=True) for part in of_pool for one in part]
    best: dict[tuple[What, str], Sighting] = {}
    for sighting in sorted(found, key=lambda one: one.p_value):
        best.setdefault((sighting.what, sighting.name), sighting)
    alone = min((one.p_value for one in found if one.windows == 1), default=1.0)
    return Scan(kind, level, tuple(best.values()), alone)


@dataclass(frozen=True)
class _Held:
    """A window held against a reference: sums over its rows, of each signal."""

    values: Array
    ranks: Array
    """Of its rows' ranks among those of the reference."""
    squares: Array
    """Of these ranks."""
    hits: Array
    """How many rows are in each tail, those of all signals in a row."""


@lru_cache(maxsize=2 * max(HORIZONS) + 2)  # only the newest window is another one at each check
def _held(window: Tallied, reference: Tallied) -> _Held:
    pairs = list(zip(reference.ranked, window.values.T, strict=True))
    ranks = np.stack([ranks_in_order(before.values, now) for before, now in pairs])
    hits = [before.hits_of(now) for before, now in pairs]
    return _Held(window.values.sum(axis=0), ranks.sum(axis=1), np.square(ranks).sum(axis=1), np.concatenate(hits))


def _signals(kind: DriftKind, reference: Tallied, pools: Sequence[Pool], factor: float) -> list[list[Sighting]]:
    """Compare the mean rank of each signal, and how many rows are in each tail; return what each pool shows."""
    places = [place for place, signal in enumerate(SIGNALS) if signal.kind is kind]
    weights = sum(SIGNALS[place].weight for place in places)
    tests = np.array([(1 + len(reference.ranked[p].tails)) * weights / SIGNALS[p].weight * factor for p in places])
    held = [_held(window, reference) for window in pools[-1].of]
    of_ranks = ndtr(-_rank_scores(reference, pools, held)[:, places])
    ways = [1 if SIGNALS[place].is_one_sided else 2 for place in places]
    of_tails = _of_tails(reference, pools, held, places, tests)
    p_values = np.minimum(1.0, np.minimum(tests * of_ranks * ways, of_tails))
    means = summed(pools, [one.values for one in held]) / _rows(pools)
    return [
        [
            Sighting(
                what=What.SIGNAL,
                name=SIGNALS[place].name,
                before=reference.ranked[place].mean,
                now=float(means[number, place]),
                p_value=float(p_values[number, column]),
                windows=pool.windows,
            )
            for column, place in enumerate(places)
        ]
        for number, pool in enumerate(pools)
    ]


def _rows(pools: Sequence[Pool]) -> Array:
    return np.array([[float(pool.rows)] for pool in pools])


def _rank_scores(reference: Tallied, pools: Sequence[Pool], held: Sequence[_Held]) -> Array:
    """Return by how many deviations the mean rank has grown, or of either way changed; minus infinity tells nothing."""
    rows, effects = _rows(pools), np.stack([pool.effects for pool in pools])
    means = summed(pools, [one.ranks for one in held]) / rows
    spread = summed(pools, [one.squares for one in held]) / rows - means**2
    variance = np.maximum([before.rank_variance for before in reference.ranked], spread)
    deviation = np.sqrt(variance * (effects / rows + reference.effect / len(reference.rows)))
    scores = (means - [before.rank_mean for before in reference.ranked]) / np.maximum(deviation, 1e-9)
    scores = np.where([signal.is_one_sided for signal in SIGNALS], scores, np.abs(scores))
    return np.where([before.is_mostly_one for before in reference.ranked], -np.inf, scores)


def _of_tails(
    reference: Tallied, pools: Sequence[Pool], held: Sequence[_Held], places: Sequence[int], tests: Array
) -> Array:
    """Return the p-value of each signal's most striking tail, of shape (pools, signals); all of them asked at once."""
    of_signal = np.repeat(np.arange(len(SIGNALS)), [len(one.tails) for one in reference.ranked])
    is_asked = np.isin(of_signal, places)
    of_place = np.searchsorted(places, of_signal[is_asked])
    # Only more in a tail is told: fewer in one are more in the middle, which the ranks see.
    p_values = p_values_of(
        summed(pools, [one.hits for one in held])[:, is_asked],
        _rows(pools),
        np.concatenate([one.hits for one in reference.ranked])[is_asked] / reference.effect,
        np.full(len(of_place), len(reference.rows) / reference.effect),
        effect=np.stack([pool.effects for pool in pools])[:, of_signal[is_asked]],
        tests=tests[of_place],
    )
    return np.asarray(np.minimum.reduceat(p_values, np.searchsorted(of_place, np.arange(len(places))), axis=1))


def _tokens(
    kind: DriftKind, reference: Tallied, pools: Sequence[Pool], background: Background, factor: float
) -> list[list[Sighting]]:
    """Compare the share of rows with each word; only more of one is told."""
    windows, judged = pools[-1].of, len(reference.rows)
    if kind is DriftKind.INPUT:
        counts, tokens = [w.prompt_tokens for w in windows], [w.tokens_of_prompts() for w in windows]
        learned = background.prompt_tokens, background.count
        before = Before(*learned, reference.prompt_tokens, judged, effect=reference.effect)
    else:
        # The training texts hold what people said: a version has words and labels that it prefers to theirs, in
        # steady traffic too, and is compared with its own answers alone.
        counts, tokens = [w.answer_tokens for w in windows], [w.tokens_of_answers() for w in windows]
        before = Before.alone(reference.answer_tokens, judged, reference.effect)
    said = said_in(pools, counts, tokens, FEWEST_HITS)
    tests = np.repeat(
        np.stack([said.distinct_words / SHARE_OF_WORDS, said.distinct_pairs / (1 - SHARE_OF_WORDS)], axis=1) * factor,
        [len(said.words), len(said.pairs)],
        axis=1,
    )
    hits = np.where(said.hits >= FEWEST_HITS, said.hits, 0.0)
    return _compared(What.WORD, [*said.words, *said.pairs], hits, pools, before, tests=tests)


def _labels(reference: Tallied, pools: Sequence[Pool], factor: float) -> list[list[Sighting]]:
    """Compare the share of answers with each label; that one became more frequent gets most of the level."""
    names = sorted({*reference.labels, *pools[-1].labels})
    before = Before.alone(reference.labels, len(reference.rows), reference.effect)
    tests = np.array([[len({*reference.labels, *pool.labels}) * factor] for pool in pools])
    hits = np.array([[pool.labels[name] for name in names] for pool in pools], dtype=np.float64)
    risen = _compared(What.LABEL, names, hits, pools, before, tests=tests / SHARE_OF_RISES)
    fallen = _compared(What.LABEL, names, hits, pools, before, tests=tests / (1 - SHARE_OF_RISES), way=-1)
    return [[*up, *down] for up, down in zip(risen, fallen, strict=True)]


def _compared(
    what: What,
    names: Sequence[str],
    hits: Array,
    pools: Sequence[Pool],
    before: Before,
    *,
    tests: Array,
    way: int = 1,
) -> list[list[Sighting]]:
    """Return what each pool says more often than before, or with -1 as way less often."""
    if not names:
        return [[] for _ in pools]
    hits_before, rows_before = before.counts(names)
    shares, shares_before = hits / _rows(pools), hits_before / rows_before
    effect = np.array([[pool.effect] for pool in pools])
    p_values = p_values_of(hits, _rows(pools), hits_before, rows_before, effect=effect, tests=tests, way=way)
    return [
        [
            Sighting(
                what=what,
                name=names[place],
                before=float(shares_before[place]),
                now=float(shares[number, place]),
                p_value=float(p_values[number, place]),
                windows=pool.windows,
            )
            for place in np.flatnonzero(p_values[number] < 0.05)
        ]
        for number, pool in enumerate(pools)
    ]
