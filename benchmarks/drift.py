"""Benchmark: windows over the drift threshold, in steady traffic that comes in bursts, and in traffic with new topics.

    python -m benchmarks.drift --data FOLDER [--windows 20] [--rows 200] [--reference 600] [--seed 0]

FOLDER holds Banking77's train.csv and test.csv (`text,category`). The reference is a random sample of two thirds of the
intents; a window has the intent of the request before it again with probability rho, and a share of its bursts is of
the other third. The answer is the intent. The level is that of one false alarm a month at 24 windows a day.
"""

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from driftwheel.identity import utc_now
from driftwheel.intervals import share_interval
from driftwheel.records import DriftKind
from monitor.calibration import level_per_decision
from monitor.drift import judge_kind
from monitor.observation import Observation, without_repeats

AT = utc_now()
CASES = ((0.0, 0.0), (0.6, 0.0), (0.8, 0.0), (0.0, 0.3), (0.0, 0.5), (0.6, 0.5))
"""The probability of the same intent again, and the share of new topics."""
PERMUTATIONS = 400


def texts_by_intent(folder: Path) -> dict[str, list[str]]:
    """Read the questions of each intent."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in ("train.csv", "test.csv"):
        with (folder / name).open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                found[row["category"]].append(row["text"])
    return found


def draw(
    random: np.random.Generator, texts: dict[str, list[str]], count: int, again: float, new_share: float
) -> list[Observation]:
    """Draw requests in bursts of one intent."""
    names = sorted(texts)
    known, new = names[: len(names) * 2 // 3], names[len(names) * 2 // 3 :]
    rows, intent = [], ""
    for number in range(count):
        if not intent or random.random() >= again:
            intent = str(random.choice(new if random.random() < new_share else known))
        prompt = texts[intent][random.integers(len(texts[intent]))]
        rows.append(Observation(id=str(number), prompt=prompt, answer=intent, label=intent, at=AT))
    return rows


def main() -> None:
    """Print how many windows of each case are over the threshold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--windows", type=int, default=20)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--reference", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    texts, level = texts_by_intent(arguments.data), level_per_decision(1.0, 24)
    table = Table("same intent again", "new topics", *(f"{k} over" for k in ("input", "output")), "95 % of both")
    for number, (again, new_share) in enumerate(CASES):
        random, over = np.random.default_rng([arguments.seed, number]), [0, 0]
        for seed in range(arguments.windows):
            reference = draw(random, texts, arguments.reference, 0.0, 0.0)
            current = without_repeats(draw(random, texts, arguments.rows, again, new_share))
            for place, kind in enumerate((DriftKind.INPUT, DriftKind.OUTPUT)):
                result = judge_kind(kind, reference, current, level=level, permutations=PERMUTATIONS, seed=seed)
                over[place] += result.judgment.is_over
        intervals = [share_interval(count, arguments.windows) or (0.0, 1.0) for count in over]
        bounds = ", ".join(f"{low:.0%} to {high:.0%}" for low, high in intervals)
        table.add_row(f"{again:.0%}", f"{new_share:.0%}", *(f"{n} of {arguments.windows}" for n in over), bounds)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
