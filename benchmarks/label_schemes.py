"""Benchmark: who labels which answers, and how often the gate then promotes candidates that are no better.

    python -m benchmarks.label_schemes [--loops 10000] [--seed 0]

A loop is a hundred retrains in a row. In each, 4,000 answers were given, 80 % of them right, and somebody labelled
some, by a scheme written down before the run. The candidate mends as many answers as it breaks, a tenth of all. Three
labels of ten judge it. The truth comes from the draw; one-sidedness, the odds of a label, and the verdict from the
product. The declared budget is `gate.false_promotion`: of all loops, so many may promote anything.
"""

import argparse
import math
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy.special import bdtr
from scipy.stats import beta

from driftwheel.settings.artifact import GateSettings
from train.data.live.label_odds import label_odds
from train.data.live.traffic_rows import is_one_sided
from train.gate import decide_counted
from train.verdict.paired import Pairs
from train.verdict.paired_tables import Table

SETTINGS = GateSettings()
LEVEL = SETTINGS.false_promotion / SETTINGS.candidates
ANSWERS, RIGHT, CHANGED, JUDGING = 4000, 0.8, 0.1, 0.3
CANDIDATES = 100
BLIND_LOOPS = 100
GAIN = 0.1
Generator = np.random.Generator


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """Which answers get a label."""

    name: str
    wrong: float
    """Share of the wrong answers that get one."""
    right: float
    of: float = 1.0
    """Share of the answers that could get one: those of one topic, or those that are old enough."""
    mends: float = CHANGED
    """Share of those answers that the candidate mends; elsewhere it breaks so many more that it is no better."""
    breaks: float = CHANGED
    is_known: bool = False
    """What is out of reach lies outside the first and the last labelled request, or the operator says `sampled`."""


SCHEMES = (
    Scheme(name="all labelled", wrong=1, right=1),
    Scheme(name="all, but the newest half are late", wrong=1, right=1, of=0.5, is_known=True),
    Scheme(name="30 % by lot, `trusted_labels: sampled`", wrong=0.3, right=0.3, is_known=True),
    Scheme(name="30 % by lot, nobody says so", wrong=0.3, right=0.3),
    Scheme(name="80 %, more of the wrong ones", wrong=1, right=0.75),
    Scheme(name="corrections only", wrong=0.5, right=0),
    Scheme(name="corrections, and hardly ever a right one", wrong=0.5, right=0.003),
    Scheme(name="unhappy only", wrong=0.5, right=0.05),
    Scheme(name="unhappy only, many of them", wrong=0.9, right=0.3),
    Scheme(name="thumbs only", wrong=0, right=0.3),
    Scheme(name="one topic only, which got better", wrong=1, right=1, of=0.2, mends=0.15, breaks=0.05),
)


@dataclass(frozen=True, kw_only=True)
class Draws:
    """What became of many retrains under a scheme, one number each."""

    gained: Any
    lost: Any
    items: Any
    odds: Any
    is_judged: Any
    """Whether the labels judge at all."""


def draw(chance: Generator, scheme: Scheme, shape: tuple[int, ...], gain: float = 0.0) -> Draws:
    """Draw retrains; `gain` is the candidate's true one, added to what it mends."""
    reach = round(scheme.of * ANSWERS)
    wrong = chance.binomial(reach, 1 - RIGHT, shape)
    said_wrong = chance.binomial(wrong, scheme.wrong)
    said_right = chance.binomial(reach - wrong, scheme.right)
    missing = (reach if scheme.is_known else ANSWERS) - said_wrong - said_right
    missing = np.zeros_like(missing) if scheme.is_known else missing
    test_wrong, test_right = chance.binomial(said_wrong, JUDGING), chance.binomial(said_right, JUDGING)
    gained = chance.binomial(test_wrong, min(1.0, (scheme.mends + gain) / (1 - RIGHT)))
    lost = chance.binomial(test_right, scheme.breaks / RIGHT)
    labels = said_wrong + said_right
    return Draws(
        gained=gained,
        lost=lost,
        items=test_wrong + test_right,
        odds=np.vectorize(label_odds)(said_right, missing),
        is_judged=~np.vectorize(is_one_sided)(said_right, labels),
    )


@cache
def is_promoted(gained: int, lost: int, items: int, odds: float) -> bool:
    """Ask the gate about one test set that is all target."""
    table = Table(Pairs("new", items - gained - lost, gained, lost, 0), "target")
    return decide_counted(SETTINGS, [table], label_odds=odds).verdict == "PROMOTE"


def promoted(drawn: Draws, *, with_odds: bool = True) -> Any:
    """Return which retrains the gate promotes; `with_odds` takes the labels that are missing into account."""
    odds = drawn.odds if with_odds else np.ones_like(drawn.odds)
    differing = drawn.gained + drawn.lost
    # The gate needs at least this, so that only what passes is put before it: of a million tables a few.
    near = (bdtr(drawn.lost, np.maximum(differing, 1), 1 / (1 + odds)) <= LEVEL) & (differing > 0)
    near &= drawn.is_judged if with_odds else True
    found = np.zeros(drawn.gained.shape, dtype=bool)
    for place in zip(*np.nonzero(near), strict=True):
        known = int(drawn.gained[place]), int(drawn.lost[place]), int(drawn.items[place])
        # Two digits of the odds, rounded down: the gate may only be asked what is easier to pass.
        found[place] = is_promoted(*known, max(1.0, math.floor(100 * float(odds[place])) / 100))
    return found


def false_loops(chance: Generator, scheme: Scheme, loops: int, *, with_odds: bool = True) -> int:
    """Count the loops in which a candidate that is no better is promoted."""
    count, block = 0, 500
    for start in range(0, loops, block):
        drawn = draw(chance, scheme, (min(block, loops - start), CANDIDATES))
        count += int(promoted(drawn, with_odds=with_odds).any(axis=1).sum())
    return count


def upper(count: int, of: int) -> float:
    """Return the upper 95 % bound of a share (Clopper and Pearson 1934)."""
    return 1.0 if count == of else float(beta.ppf(0.95, count + 1, of - count))


def labels_for(chance: Generator, loops: int, share: float, *, spread: float) -> int | None:
    """Return after how many labels by lot a true gain of ten points is promoted in four loops of five; None if never.

    `share` of the labels judge; `spread` is how many answers the candidate breaks, as a share of all.
    """
    for labels in (100, 200, 300, 400, 600, 800, 1000, 1200, 1500, 2000):
        items = round(share * labels)
        gained = chance.binomial(items, spread + GAIN, loops)
        lost = chance.binomial(items - gained, spread / (1 - spread - GAIN))
        passed = [is_promoted(int(g), int(n), items, 1.0) for g, n in zip(gained, lost, strict=True)]
        if sum(passed) >= 0.8 * loops:
            return labels
    return None


def main() -> int:
    """Print a line for each scheme, and what a true gain needs; 1 where the budget is over."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--loops", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parsed = parser.parse_args()
    chance, over = np.random.default_rng(parsed.seed), False
    for scheme in SCHEMES:
        found = false_loops(chance, scheme, parsed.loops)
        blind = false_loops(chance, scheme, BLIND_LOOPS, with_odds=False)
        gained = int(promoted(draw(chance, scheme, (200,), 2 * GAIN - scheme.mends)).sum())
        is_over = upper(found, parsed.loops) > SETTINGS.false_promotion
        over |= is_over
        print(
            f"{scheme.name:42} {found} of {parsed.loops:,} loops (at most {upper(found, parsed.loops):.2%}) "
            f"{'OVER' if is_over else 'kept'}; blind to missing labels {blind} of {BLIND_LOOPS}; "
            f"a gain of {100 * GAIN:.0f} points {gained} of 200"
        )
        sys.stdout.flush()
    for share in (JUDGING, 1.0):
        needed = [labels_for(chance, 200, share, spread=spread) for spread in (0.02, 0.05, 0.1)]
        print(f"a gain of 10 points, {share:.0%} of the labels judge: after {needed} labels (it breaks 2, 5, 10 %)")
    return int(over)


if __name__ == "__main__":
    sys.exit(main())
