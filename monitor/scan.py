"""Scans the newest windows for anything that became more or less frequent: signals, words, labels; pure.

A distance between all words of two samples drowns what one row in ten is about, and a test of each word, label and
signal does not: what is new is mostly said in a few words of its own. Each test gets its share of the level
(Bonferroni), over 1, 2, 3 and 6 newest windows pooled. Shares are compared by Chernoff's bound on the conditional
distribution, exp(-log likelihood ratio), which holds for small counts as well; means of ranks by the normal
distribution. Counts are divided by the design effect of the bursts that they came in.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.stats import norm

from driftwheel.records.nouns import DriftKind
from monitor.background import Background
from monitor.calibration import Array
from monitor.pools import HORIZONS, Pool, Tallied
from monitor.ranks import Ranked, ranks_in_order
from monitor.row_signals import SIGNALS, RowSignal
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
    found: list[Sighting] = []
    for pool in pools:
        found += _signals(kind, reference, pool, factor[What.SIGNAL])
        if kind is DriftKind.INPUT:
            before = Before(
                background.prompt_tokens,
                background.count,
                reference.prompt_tokens,
                len(reference.rows),
                effect=reference.effect,
            )
            found += _tokens(pool.prompt_tokens, pool, before, factor[What.WORD])
        else:
            # The training texts hold what people said: a version has words and labels that it prefers to theirs, in
            # steady traffic too, and is compared with its own answers alone.
            before = Before.alone(reference.answer_tokens, len(reference.rows), reference.effect)
            found += _tokens(pool.answer_tokens, pool, before, factor[What.WORD])
            found += _labels(reference, pool, factor[What.LABEL])
    best: dict[tuple[What, str], Sighting] = {}
    for sighting in sorted(found, key=lambda one: one.p_value):
        best.setdefault((sighting.what, sighting.name), sighting)
    alone = min((one.p_value for one in found if one.windows == 1), default=1.0)
    return Scan(kind, level, tuple(best.values()), alone)


def _signals(kind: DriftKind, reference: Tallied, pool: Pool, factor: float) -> list[Sighting]:
    """Compare the mean rank of each signal, and how many rows are in each tail."""
    places = [place for place, signal in enumerate(SIGNALS) if signal.kind is kind]
    weights = sum(SIGNALS[place].weight for place in places)
    tests = [(1 + len(reference.ranked[p].tails)) * weights / SIGNALS[p].weight * factor for p in places]
    scores = [
        _rank_score(SIGNALS[p], reference.ranked[p], pool.values[:, p], pool.effects[p], reference.effect)
        for p in places
    ]
    of_ranks = norm.sf(scores)
    of_tails = _of_tails(reference, pool, places, tests)
    found = []
    for number, place in enumerate(places):
        signal = SIGNALS[place]
        of_mean = tests[number] * float(of_ranks[number]) * (1 if signal.is_one_sided else 2)
        found.append(
            Sighting(
                what=What.SIGNAL,
                name=signal.name,
                before=reference.ranked[place].mean,
                now=float(pool.values[:, place].mean()),
                p_value=min(1.0, of_mean, of_tails[number]),
                windows=pool.windows,
            )
        )
    return found


def _rank_score(signal: RowSignal, before: Ranked, now: Array, effect: float, reference_effect: float) -> float:
    """Return by how many deviations the mean rank has grown, or of either way changed; minus infinity tells nothing."""
    if before.is_mostly_one:
        return -math.inf
    ranks = ranks_in_order(before.values, now)
    variance = max(before.rank_variance, float(ranks.var()))
    deviation = math.sqrt(variance * (effect / len(now) + reference_effect / len(before.values)))
    score = (float(ranks.mean()) - before.rank_mean) / max(deviation, 1e-9)
    return score if signal.is_one_sided else abs(score)


def _of_tails(reference: Tallied, pool: Pool, places: Sequence[int], tests: Sequence[float]) -> list[float]:
    """Return the p-value of each signal's most striking tail, all of them asked at once."""
    ranked = [reference.ranked[place] for place in places]
    sizes = [len(one.tails) for one in ranked]
    hits = np.concatenate([one.hits_of(pool.values[:, place]) for one, place in zip(ranked, places, strict=True)])
    before = np.concatenate([one.hits for one in ranked]) / reference.effect
    # Only more in a tail is told: fewer in one are more in the middle, which the ranks see.
    p_values = p_values_of(
        hits,
        pool.rows,
        before,
        np.full(len(hits), len(reference.rows) / reference.effect),
        effect=np.repeat(pool.effects[places], sizes),
        tests=np.repeat(tests, sizes),
    )
    return [float(part.min()) for part in np.split(p_values, np.cumsum(sizes)[:-1])]


def _tokens(counts: Counter[str], pool: Pool, before: Before, factor: float) -> list[Sighting]:
    """Compare the share of rows with each word; only more of one is told."""
    found = []
    pairs = len([name for name in counts if " " in name])
    # In the order of the alphabet, so that of two that are as unlikely the same one comes first in each process.
    often = sorted([name for name, hits in counts.items() if hits >= FEWEST_HITS])
    for share, are_pairs in ((SHARE_OF_WORDS, False), (1 - SHARE_OF_WORDS, True)):
        names = [name for name in often if (" " in name) is are_pairs]
        tests = (pairs if are_pairs else len(counts) - pairs) * factor / share
        found += _compared(What.WORD, names, counts, pool, before, tests=tests)
    return found


def _labels(reference: Tallied, pool: Pool, factor: float) -> list[Sighting]:
    """Compare the share of answers with each label; that one became more frequent gets most of the level."""
    names = sorted({*reference.labels, *pool.labels})
    before = Before.alone(reference.labels, len(reference.rows), reference.effect)
    tests = len(names) * factor
    risen = _compared(What.LABEL, names, pool.labels, pool, before, tests=tests / SHARE_OF_RISES)
    return risen + _compared(What.LABEL, names, pool.labels, pool, before, tests=tests / (1 - SHARE_OF_RISES), way=-1)


def _compared(
    what: What,
    names: Sequence[str],
    counts: Counter[str],
    pool: Pool,
    before: Before,
    *,
    tests: float,
    way: int = 1,
) -> list[Sighting]:
    """Return what is said more often than before, or with -1 as way less often."""
    if not names:
        return []
    hits, hits_before = np.array([counts[name] for name in names], dtype=np.float64), before.counts(names)
    shares, shares_before = hits / pool.rows, hits_before[0] / hits_before[1]
    p_values = p_values_of(hits, pool.rows, *hits_before, effect=pool.effect, tests=tests, way=way)
    return [
        Sighting(
            what=what,
            name=names[place],
            before=float(shares_before[place]),
            now=float(shares[place]),
            p_value=float(p_values[place]),
            windows=pool.windows,
        )
        for place in np.flatnonzero(p_values < 0.05)
    ]
