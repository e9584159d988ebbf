"""How often the gate is wrong: simulated candidates whose true quality is known, judged beside simpler rules.

    python -m benchmarks.gate [--loops 10000] [--part NAME]

The truth comes from the generator of the pairs, never from the gate. Each part first shows what rules without the
part in question let through. Counts are printed with Clopper and Pearson's 95 % interval.
"""

import argparse
import math
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from scipy.stats import binomtest, norm

from driftwheel.settings.artifact import GateSettings
from train.gate import decide_counted
from train.verdict.paired import Pairs, items_for_gain, power
from train.verdict.paired_tables import Role, Table

SETTINGS = GateSettings()
LEVEL = SETTINGS.false_promotion / SETTINGS.candidates
KINDS = ((0.70, 0.20), (0.85, 0.10), (0.95, 0.04))
"""Accuracy of the live version, and share of items on which a candidate differs."""
CANDIDATES = 100
SLICES = ((0.04, 200), (0.04, 400), (0.04, 600), (0.04, 800), (0.10, 600), (0.10, 1000), (0.10, 1200), (0.10, 1500))
"""Share of answers that differ by chance, and items of the slice that loses."""
SMALL_SLICES = 10
GAINS = (0.0, 0.01, 0.02, 0.03, 0.05, 0.08)
FLIP_SHARES = (0.0006, 0.002)
"""Answers that change between right and wrong when an artifact is asked again: the 95 % bound of what vLLM did here
(0 of 5,850 answers, in other orders and batches, see RESULTS.md), and three times that."""


def table(name: str, gained: Any, lost: Any, items: int, role: Role) -> Table:
    """Return the table of a slice; which of the equal answers were right plays no part."""
    return Table(Pairs(name, items - int(gained) - int(lost), int(gained), int(lost), 0), role)


@cache
def verdict_of(gained: int, lost: int, items: int) -> str:
    """Return the gate's word on a test set that is all target; it depends on nothing else."""
    return str(decide_counted(SETTINGS, [table("all", gained, lost, items, "target")]).verdict)


def interval_promotes(gained: Any, lost: Any, confidence: Any) -> Any:
    """Promote where the score interval of the difference lies above zero: McNemar's statistic without correction."""
    return gained - lost > norm.ppf(0.5 + np.asarray(confidence) / 2) * np.sqrt(gained + lost)


def gate_promotes(gained: Any, lost: Any, items: int) -> Any:
    """Ask the gate about arrays of tables, each different one once."""
    different, place = np.unique(gained.astype(np.int64) * (items + 1) + lost, return_inverse=True)
    words = [verdict_of(int(code) // (items + 1), int(code) % (items + 1), items) == "PROMOTE" for code in different]
    return np.array(words)[place].reshape(gained.shape)


def rules(gained: Any, lost: Any, items: int) -> dict[str, Any]:
    """Return each rule's decisions; the last axis of the arrays is the look."""
    looks = np.arange(1, gained.shape[-1] + 1)
    return {
        "better on the same items": gained > lost,
        "95 % interval": interval_promotes(gained, lost, 0.95),
        "95 % interval, 1/k at look k": interval_promotes(gained, lost, 1 - 0.05 / looks),
        "the gate": gate_promotes(gained, lost, items),
    }


def share(count: int, of: int) -> str:
    """Return a count with its share and 95 % interval."""
    low, high = binomtest(count, of).proportion_ci(0.95)
    return f"{count:,} of {of:,}: {count / of:.2%} [{low:.2%}, {high:.2%}]"


def no_better(loops: int, chance: np.random.Generator) -> None:
    """A hundred candidates in a row, each as good as the live version, on one test set and on a hundred."""
    print(f"## Candidates that are no better, {CANDIDATES} in a row: loops in which at least one is promoted\n")
    items = 500
    for accuracy, discordance in KINDS:
        for how in ("one test set", "a test set each"):
            columns = 1 if how == "one test set" else CANDIDATES
            right = chance.binomial(items, accuracy, (loops, columns))
            # The live version's luck on a test set is shared by every candidate that is judged there.
            gained = chance.binomial(items - right, discordance / 2 / (1 - accuracy), (loops, CANDIDATES))
            lost = chance.binomial(right, discordance / 2 / accuracy, (loops, CANDIDATES))
            print(f"accuracy {accuracy:.0%}, {discordance:.0%} differ, {items} items, {how}:")
            for name, promoted in rules(gained, lost, items).items():
                print(
                    f"  {name:<30} {share(int(promoted.any(axis=1).sum()), loops)}; "
                    f"{promoted.sum(axis=1).mean():.3f} of {CANDIDATES} promoted"
                )
    print()


def adaptive(loops: int, chance: np.random.Generator) -> None:
    """Somebody reads the numbers of every verdict and adds up the changes of the candidates, weighed by them."""
    items, discordance = 500, 0.10
    print("## One test set, its numbers read each time: promotions of the sum of all earlier candidates\n")
    print(
        f"{items} items; candidates change {discordance:.0%} of the answers at random, so that they gain as often as "
        "they lose; the sum takes every change whose candidates gained more than they lost."
    )
    for looks in (2, SETTINGS.max_looks, 2 * SETTINGS.max_looks, 4 * SETTINGS.max_looks, 8 * SETTINGS.max_looks):
        sums = np.array([_sum_of_candidates(chance, looks - 1, items, discordance) for _ in range(loops)])
        gained, lost = sums[:, 0], sums[:, 1]
        plain, tested = interval_promotes(gained, lost, 0.95), gate_promotes(gained, lost, items)
        note = "" if looks <= SETTINGS.max_looks else ", but the set is spent: none"
        print(
            f"look {looks:>2}: 95 % interval {share(int(plain.sum()), loops)}; "
            f"the gate's test {share(int(tested.sum()), loops)}{note}"
        )
    print()


def _sum_of_candidates(chance: np.random.Generator, count: int, items: int, discordance: float) -> tuple[int, int]:
    """Return what the sum gains and loses on the test set on which its parts were judged."""
    effect = np.where(chance.random(items) < 0.5, 1, -1)  # a changed answer mends a wrong one or breaks a right one
    changes = chance.random((count, items)) < discordance
    votes = (changes @ effect) @ changes
    return int((effect[votes > 0] > 0).sum()), int((effect[votes > 0] < 0).sum())


def true_gain(loops: int, chance: np.random.Generator) -> None:
    """A true gain of three points at a stated number of items."""
    print("## A true gain of 3 points: promoted\n")
    for accuracy, discordance in KINDS:
        items = math.ceil(1.05 * items_for_gain(0.03, discordance, LEVEL) / 500) * 500
        gained, lost = draw(chance, loops, items, discordance - 0.03, 0.03)
        promoted = int(gate_promotes(gained, lost, items).sum())
        exact = power(0.03, discordance, items, LEVEL)
        print(
            f"accuracy {accuracy:.0%}, {discordance:.0%} differ, {items:,} items: {share(promoted, loops)}, "
            f"by calculation {exact:.1%}"
        )
    print("\nItems that show a true gain with a chance of 80 %, by how many of them differ:\n")
    gains, spreads = (0.01, 0.02, 0.03, 0.05, 0.10), (0.02, 0.04, 0.10, 0.20, 0.30)
    print("| true gain | " + " | ".join(f"{d:.0%} differ" for d in spreads) + " |\n|---|" + "---|" * len(spreads))
    for gain in gains:
        cells = (f"{items_for_gain(gain, d, LEVEL):,}" if gain <= d else "-" for d in spreads)
        print(f"| {100 * gain:.0f} points | " + " | ".join(cells) + " |")
    print()


def draw(chance: np.random.Generator, loops: int, items: int, noise: float, gain: float) -> tuple[Any, Any]:
    """Return gained and lost items of so many candidates: what differs by chance, and beside it a true gain."""
    shares = [noise / 2 + max(gain, 0), noise / 2 - min(gain, 0), 1 - noise - abs(gain)]
    drawn = chance.multinomial(items, shares, size=loops)
    return drawn[:, 0], drawn[:, 1]


def slices(loops: int, chance: np.random.Generator) -> None:
    """A candidate that wins the new items, and loses a slice of the old ones whose average stays the same."""
    print("## A slice of the old items loses 5 points, their average stays: candidates that are not promoted\n")
    print(
        f"The target gains 20 points on 600 new items; the other old items are {SMALL_SLICES} slices of 40 and one "
        "four times as large as the slice. `differ` is what changes by chance."
    )
    for noise, items in SLICES:
        print(f"slice of {items} items, {noise:.0%} differ:")
        planted, harmless = (old_and_new(loops, chance, items, noise, gain) for gain in (-0.05, 0.0))
        for name, last in (("without slices", 2), ("the gate", None)):
            blocked = loops - promotions(tables[:last] for tables in planted)
            passed = promotions(tables[:last] for tables in harmless)
            print(
                f"  {name:<15} blocks {share(blocked, loops)}: {50 * blocked / loops:.1f} of 50, all 50 with a "
                f"chance of {(blocked / loops) ** 50:.1%}; harmless: promotes {passed / loops:.1%}"
            )
    print()


def promotions(candidates: Iterable[Sequence[Table]]) -> int:
    """Count the candidates that the gate promotes."""
    return sum(decide_counted(SETTINGS, tables).verdict == "PROMOTE" for tables in candidates)


def old_and_new(loops: int, chance: np.random.Generator, items: int, noise: float, gain: float) -> list[list[Table]]:
    """Return tables of candidates that gain on new items and change a slice of the old, the rest making up for it."""
    rest = 4 * items
    sizes = [items, *[40] * SMALL_SLICES, rest]
    gains = [gain, *[0.0] * SMALL_SLICES, -gain * items / rest]
    new = np.stack(draw(chance, loops, 600, 0.10, 0.20), axis=1)
    cells = np.stack([draw(chance, loops, n, noise, g) for n, g in zip(sizes, gains, strict=True)], axis=2)
    found = []
    for drawn, target in zip(cells.transpose(1, 2, 0), new, strict=True):
        gained, lost = drawn.sum(axis=0)
        old = table("old", gained, lost, sum(sizes), "part")
        slices = enumerate(zip(sizes, drawn, strict=True))
        cut = [table(f"old slice:{i}", gained, lost, n, "slice") for i, (n, (gained, lost)) in slices]
        cut = [replace(one, part_noise=old.pairs.noise) for one in cut]
        found.append([table("new", target[0], target[1], 600, "target"), old, *cut])
    return found


def again(loops: int, chance: np.random.Generator) -> None:
    """The same two artifacts are asked again, and a few answers that were near ties come out otherwise."""
    items, (accuracy, discordance) = 1000, KINDS[1]
    print(f"## The same pair asked again, {items:,} items, {discordance:.0%} differ: verdicts that change\n")
    for flipped in FLIP_SHARES:
        total = dict.fromkeys(("better on the same items", "the gate"), 0)
        for gain in GAINS:
            wins, losses = (discordance + gain) / 2, (discordance - gain) / 2
            cells = chance.multinomial(items, [accuracy - losses, wins, losses, 1 - accuracy - wins], size=loops)
            first, second = (asked_again(chance, cells, flipped) for _ in range(2))
            counts = [
                sum((a > b) != (c > d) for (_, a, b, _), (_, c, d, _) in zip(first, second, strict=True)),
                sum(
                    verdict_of(a, b, items) != verdict_of(c, d, items)
                    for (_, a, b, _), (_, c, d, _) in zip(first, second, strict=True)
                ),
            ]
            print(
                f"{flipped:.2%} of the answers change, true gain {100 * gain:.0f} points: "
                + "; ".join(f"{name} {share(n, loops)}" for name, n in zip(total, counts, strict=True))
            )
            total = {name: total[name] + n for name, n in zip(total, counts, strict=True)}
        print(
            f"{flipped:.2%}, all gains: " + "; ".join(f"{k} {share(n, loops * len(GAINS))}" for k, n in total.items())
        )
    print("Stored answers judged again, in any order, give the same verdict: the gate is a pure function of them.\n")


def asked_again(chance: np.random.Generator, cells: Any, flipped: float) -> list[list[int]]:
    """Change a few answers of candidate and live version; the cells are both right, gained, lost, neither."""
    moved = np.zeros_like(cells)
    once, twice = flipped * (1 - flipped), flipped**2
    for cell, order in enumerate(((0, 2, 1, 3), (1, 3, 0, 2), (2, 0, 3, 1), (3, 1, 2, 0))):
        drawn = chance.multinomial(cells[:, cell], [(1 - flipped) ** 2, once, once, twice])
        for target, counts in zip(order, drawn.T, strict=True):
            moved[:, target] += counts
    found: list[list[int]] = moved.tolist()
    return found


PARTS = {"no-better": no_better, "adaptive": adaptive, "gain": true_gain, "slices": slices, "again": again}


def main() -> int:
    """Run the parts and print what came out."""
    parser = argparse.ArgumentParser(description="How often the gate is wrong.")
    parser.add_argument("--loops", type=int, default=10_000)
    parser.add_argument("--part", choices=PARTS, help="only this part")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for name, part in PARTS.items():
        if arguments.part in (None, name):
            started_at = time.monotonic()
            part(arguments.loops, np.random.default_rng(arguments.seed))
            print(f"({name}: {time.monotonic() - started_at:.0f} s)\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
