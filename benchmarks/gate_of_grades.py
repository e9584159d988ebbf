"""How often the gate is wrong where answers are good by degrees: simulated candidates whose true quality is known.

    python -m benchmarks.gate_of_grades [--loops 10000] [--part NAME]

Grades are real: chrF of texts about generated cottages beside three right ones each, written by simulated models that
leave out or make up facts at known rates; and a judge's grades, of which 20 % are flipped. A candidate that is no
better draws from the same answers as the live version, or gains a little on most items and loses all on a few. Counts
are printed with Clopper and Pearson's 95 % interval.
"""

import argparse
import math
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm

from benchmarks.gate import share
from driftwheel.evidence.bounded_means import SIZES, log_wealth
from driftwheel.settings.artifact import GateSettings
from driftwheel.text.grades import grade
from examples.support.world_texts import OPENINGS, Cottage, cottages, right_texts, text_of_facts
from train.gate import decide_counted
from train.verdict.graded import GradedPairs, betting_power
from train.verdict.paired_tables import Role, Table

SETTINGS = GateSettings()
LEVEL = SETTINGS.false_promotion / SETTINGS.candidates
CANDIDATES, ITEMS = 100, 500
ANSWERS = 5
"""Of each simulated model to each prompt; a candidate's are drawn from them."""
FAULTS = {"good": 0.05, "plain": 0.35, "poor": 0.95}
"""Share of the facts that a simulated model leaves out or makes up."""
FLIPPED = 0.2
"""Share of a judge's grades that say the opposite."""
RARE = 0.01
"""Share of the items on which a candidate loses all that it gains, in small steps, on the others."""
SIZES_OF_SLICES = (200, 300, 400, 600)
GAIN, LOSS = 0.03, 0.05


@dataclass(frozen=True)
class Pool:
    """Grades of simulated models: one row for each prompt, one column for each of their answers."""

    name: str
    plain: Any
    good: Any
    poor: Any
    """By a model that never saw such prompts."""

    @property
    def gain(self) -> float:
        """What the good model is better by, on average."""
        return float(self.good.mean() - self.plain.mean())


def answer_of(cottage: Cottage, faults: float, chance: random.Random) -> str:
    """Return the text of a model that leaves out or makes up facts."""
    facts = []
    for key, value in cottage.facts:
        if chance.random() >= faults:
            facts.append((key, value))
        elif chance.random() < 0.5:
            facts.append((key, "seven" if key in ("beds", "price") else "a place unknown"))
    return text_of_facts(cottage, facts, chance) if facts else OPENINGS[0].format(name=cottage.name, town=cottage.town)


def chrf_pool(seed: int, prompts: int) -> Pool:
    """Grade simulated answers by chrF."""
    chance, found = random.Random(seed), {}
    made = [(cottage, right_texts(cottage, seed)) for cottage in cottages(seed, prompts)]
    for name, faults in FAULTS.items():
        rows = [
            [grade("chrf", answer_of(cottage, faults, chance), texts) or 0.0 for _ in range(ANSWERS)]
            for cottage, texts in made
        ]
        found[name] = np.array(rows)
    return Pool("chrF", found["plain"], found["good"], found["poor"])


def judge_pool(seed: int, prompts: int) -> Pool:
    """Grade simulated answers by a judge, in tenths, that says the opposite of one in five."""
    chance = np.random.default_rng(seed)
    hardness = chance.beta(2, 2, (prompts, 1))
    found = {}
    for name, least in (("plain", 0.45), ("good", 0.3), ("poor", 0.9)):
        is_right = chance.random((prompts, ANSWERS)) > least * 2 * hardness
        tenths = np.where(is_right, chance.integers(8, 11, is_right.shape), chance.integers(0, 4, is_right.shape)) / 10
        found[name] = np.where(chance.random(tenths.shape) < FLIPPED, 1 - tenths, tenths)
    return Pool("judge", found["plain"], found["good"], found["poor"])


def drawn(chance: np.random.Generator, grades: Any, items: Any, columns: int = 0) -> Any:
    """Return for each item one of a model's grades by chance, or several columns of them."""
    return (
        grades[items[:, None], chance.integers(0, ANSWERS, (len(items), columns))]
        if columns
        else (grades[items, chance.integers(0, ANSWERS, len(items))])
    )


def better(chance: np.random.Generator, pool: Pool, items: Any, gain: float) -> Any:
    """Return grades that are better by `gain` on average, worse below zero: some answers are the other model's."""
    first, second = (pool.plain, pool.good) if gain >= 0 else (pool.good, pool.plain)
    is_other = chance.random(len(items)) < abs(gain) / pool.gain
    return np.where(is_other, drawn(chance, second, items), drawn(chance, first, items))


def promoted(differences: Any, level: float = LEVEL) -> Any:
    """Ask the gate's test about each column of differences; those that cannot reach its level are not computed.

    log(1 + x) is at most x - x**2 / 2 + x**3 / 3, which needs three sums only.
    """
    squares = differences * differences
    sums = [power.sum(axis=0)[:, None] for power in (differences, squares, squares * differences)]
    most = (SIZES * sums[0] - SIZES**2 * sums[1] / 2 + SIZES**3 * sums[2] / 3).max(axis=1)
    found = np.zeros(differences.shape[1], dtype=bool)
    for column in np.flatnonzero(most >= -math.log(level)):
        found[column] = log_wealth(differences[:, column], 0.0, low=-1.0) >= -math.log(level)
    return found


def rules(mine: Any, theirs: Any) -> dict[str, Any]:
    """Return each rule's decisions on columns of candidates."""
    differences = mine - theirs[:, None]
    items, mean = len(theirs), differences.mean(axis=0)
    squares = np.einsum("ij,ij->j", differences, differences)
    error = np.sqrt(np.maximum(squares / items - mean**2, 1e-24) / items)
    of_mine = np.einsum("ij,ij->j", mine, mine) / items - mine.mean(axis=0) ** 2
    apart = np.sqrt((of_mine + theirs.var()) / items)
    root = np.maximum(np.sqrt(squares), 1e-12)
    not_shared = promoted(differences, SETTINGS.false_promotion)
    return {
        "a better mean": mean > 0,
        "95 % interval of the mean": mean > 1.96 * error,
        "unpaired, at the gate's level": mean > norm.isf(LEVEL) * apart,
        "signs as coin tosses, at its level": items * mean > norm.isf(LEVEL) * root,
        "the gate, its budget not shared": not_shared,
        "the gate": not_shared & promoted(np.where(not_shared, differences, 0.0)),
    }


def no_better(pools: Sequence[Pool], loops: int, chance: np.random.Generator) -> None:
    """A hundred candidates in a row that are no better than the live version."""
    print(f"## No better, {CANDIDATES} in a row, {ITEMS} items: loops in which at least one is promoted\n")
    for pool in pools:
        for kind in ("equal", "rare losses"):
            counts: dict[str, int] = {}
            for _ in range(loops):
                items = chance.integers(0, len(pool.plain), ITEMS)
                theirs = drawn(chance, pool.plain, items)
                mine = drawn(chance, pool.plain, items, CANDIDATES) if kind == "equal" else _rarely_lost(chance, theirs)
                for name, decisions in rules(mine, theirs).items():
                    counts[name] = counts.get(name, 0) + int(decisions.any())
            print(f"{pool.name}, {kind}:", flush=True)
            for name, count in counts.items():
                print(f"  {name:<36} {share(count, loops)}")
    print()


def _rarely_lost(chance: np.random.Generator, theirs: Any) -> Any:
    """Return candidates that lose all on few items by chance, and gain that back evenly on the others."""
    is_lost = chance.random((len(theirs), CANDIDATES)) < RARE
    gain = RARE * float(theirs.mean()) / (1 - RARE)
    return np.where(is_lost, 0.0, np.minimum(theirs[:, None] + gain, 1.0))


def items_for(pool: Pool, gain: float, chance: np.random.Generator) -> int:
    """Return the number of items at which the gate's test sees a true gain in 85 of 100."""
    items = np.tile(np.arange(len(pool.plain)), 20)
    differences = better(chance, pool, items, gain) - drawn(chance, pool.plain, items)
    count = 50
    while betting_power(gain, float(differences.var()), count, LEVEL) < 0.85:
        count += 50
    return count


def true_gain(pools: Sequence[Pool], loops: int, chance: np.random.Generator) -> None:
    """A true gain of three points at a stated number of items."""
    print("## A true gain of 3 points: promoted\n")
    for pool in pools:
        count, seen, apart = items_for(pool, GAIN, chance), 0, 0
        for _ in range(loops):
            items = chance.integers(0, len(pool.plain), count)
            theirs, mine = drawn(chance, pool.plain, items), better(chance, pool, items, GAIN)
            found = rules(mine[:, None], theirs)
            seen += int(found["the gate"][0])
            apart += int(found["unpaired, at the gate's level"][0])
        print(f"{pool.name}, {count:,} items: {share(seen, loops)}; unpaired {share(apart, loops)}")
    for pool in pools:
        needed = ", ".join(f"{100 * g:.0f} points {items_for(pool, g, chance):,}" for g in (0.02, 0.03, 0.05, 0.08))
        print(f"{pool.name}, items that show a gain with a chance of 85 %: {needed}")
    print()


def pairs(name: str, mine: Any, theirs: Any, role: Role, part_noise: float = 0.0) -> Table:
    """Return the table of a slice."""
    return Table(GradedPairs(name, tuple(mine.tolist()), tuple(theirs.tolist())), role, part_noise=part_noise)


def candidate(pool: Pool, chance: np.random.Generator, size: int, loss: float) -> list[Table]:
    """Return tables of a candidate that wins new items and changes a slice of the old; the rest makes up for it."""
    cells = []
    for name, count, gain in (("slice", size, -loss), ("rest", 2 * size, loss / 2)):
        items = chance.integers(0, len(pool.plain), count)
        base = pool.good if gain < 0 else pool.plain
        cells.append((name, better(chance, pool, items, gain), drawn(chance, base, items)))
    lost, rest = cells
    items = chance.integers(0, len(pool.plain), 400)
    new = ("new", drawn(chance, pool.good, items), drawn(chance, pool.poor, items))
    mine, theirs = (np.concatenate([lost[at], rest[at]]) for at in (1, 2))
    old = pairs("old", mine, theirs, "part")
    return [
        pairs(*new, "target"),
        old,
        *(pairs(f"old {name}", mine, theirs, "slice", old.pairs.noise) for name, mine, theirs in (lost, rest)),
    ]


def slices(pools: Sequence[Pool], loops: int, chance: np.random.Generator) -> None:
    """A candidate that wins the new items, and loses a slice of the old ones whose average stays the same."""
    few = max(2, loops // 20)
    print("## A slice of the old items loses 5 points, their average stays: candidates that are not promoted\n")
    for pool in pools[:1]:
        for size in SIZES_OF_SLICES:
            planted, harmless = ([candidate(pool, chance, size, loss) for _ in range(few)] for loss in (LOSS, 0.0))
            for name, last in (("without slices", 2), ("the gate", None)):
                blocked, passed = (
                    sum(decide_counted(SETTINGS, tables[:last], "chrf").verdict != "PROMOTE" for tables in made)
                    for made in (planted, harmless)
                )
                print(
                    f"{pool.name}, slice of {size} items, {name:<15} blocks {share(blocked, few)}, all 50 of 50 with a "
                    f"chance of {(blocked / few) ** 50:.1%}; harmless: promotes {1 - passed / few:.1%}"
                )
    print()


Part = Callable[[Sequence[Pool], int, np.random.Generator], None]
PARTS: dict[str, Part] = {"no-better": no_better, "gain": true_gain, "slices": slices}


def main() -> int:
    """Run the parts and print what came out."""
    parser = argparse.ArgumentParser(description="How often the gate of grades is wrong.")
    parser.add_argument("--loops", type=int, default=10_000)
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--part", choices=PARTS, help="only this part")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    pools = [chrf_pool(arguments.seed, arguments.prompts), judge_pool(arguments.seed, arguments.prompts)]
    for pool in pools:
        difference = pool.good[:, 0] - pool.plain[:, 0]
        print(
            f"{pool.name}: plain {pool.plain.mean():.3f}, good {pool.good.mean():.3f}, standard deviation of grades "
            f"{pool.plain.std():.3f}, of differences {difference.std():.3f}"
        )
    print()
    for name, part in PARTS.items():
        if arguments.part in (None, name):
            started_at = time.monotonic()
            part(pools, arguments.loops, np.random.default_rng(arguments.seed))
            print(f"({name}: {time.monotonic() - started_at:.0f} s)\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
