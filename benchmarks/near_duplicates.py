"""Benchmark: time, memory and recall of the search for near duplicates among many rows, in one process.

    python -m benchmarks.near_duplicates [--data DIR] [--rows 20000 200000 ...] [--planted 1000] [--seed 6]

The rows are made of Banking77's words (Casanueva et al. 2020, CC BY 4.0, read from DIR): each word follows the two
before it as in one of the 13,083 questions, or, three times in ten, the one before it, so that lengths and commonness
of words are Banking77's, and no two rows are alike by design. Among them near duplicates of some of them are planted,
as in `make bench-leaks`; what is timed is what a build does: every row is put into its cluster.
"""

import argparse
import os
import random
import resource
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from benchmarks.banking77 import DATA, read
from benchmarks.leaks import SIMILARITY
from tests.support import planted_leaks
from train.data.near_duplicates.duplicates import NearDuplicates

NEAR = (*planted_leaks.NEAR_DUPLICATES, "prefix")
ONE_WORD_BEFORE = 0.3
FEWEST_WORDS = 3
"""Banking77 has nine questions of fewer; the order of one word cannot be changed."""
START, END = "", "\n"


def questions(data: Path) -> list[str]:
    """Return all questions of Banking77."""
    return [q.text for name in ("train", "test") for q in read(data / f"{name}.csv")]


def worded(known: list[str], rows: int, chance: random.Random) -> list[str]:
    """Return rows whose words follow one another as they do in known texts."""
    after_two, after_one = defaultdict[tuple[str, str], list[str]](list), defaultdict[str, list[str]](list)
    for text in known:
        words = [START, START, *text.split(), END]
        for first, second, third in zip(words, words[1:], words[2:], strict=False):
            after_two[first, second].append(third)
            after_one[second].append(third)
    made: list[str] = []
    while len(made) < rows:
        words = [START, START]
        while words[-1] != END:
            follow = after_two.get((words[-2], words[-1])) or after_one[words[-1]]
            words.append(chance.choice(after_one[words[-1]] if chance.random() < ONE_WORD_BEFORE else follow))
        if len(words) >= FEWEST_WORDS + 3:
            made.append(" ".join(words[2:-1]))
    return made


def measure(data: Path, rows: int, planted: int, seed: int) -> None:
    """Print what the clusters of so many rows take, and how many of the planted near duplicates are found."""
    chance = random.Random(seed)
    texts = worded(questions(data), rows - planted, chance)
    leaks = [leak for leak in planted_leaks.plant(texts, seed, share=planted / 460) if leak.kind in NEAR][:planted]
    texts += [leak.text for leak in leaks]
    wall, cpu = time.monotonic(), time.process_time()
    clusters = NearDuplicates(texts, SIMILARITY).clusters()
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    first = rows - planted
    found = {kind: [0, 0] for kind in NEAR}
    for number, leak in enumerate(leaks):
        found[leak.kind][0] += clusters[first + number] == clusters[leak.item]
        found[leak.kind][1] += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    mean = sum(map(len, texts)) / len(texts)
    near = [sum(found[kind][n] for kind in planted_leaks.NEAR_DUPLICATES) for n in (0, 1)]
    print(
        f"{len(texts):,} rows of {mean:.0f} characters: {wall:.0f} s, {cpu:.0f} s of CPU, {peak:.2f} GiB, "
        f"{len(set(clusters)):,} clusters; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n"
        f"  near duplicates found: {near[0]} of {near[1]}; prefixes: {found['prefix'][0]} of {found['prefix'][1]}"
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Near duplicates among many rows.")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with Banking77's train.csv and test.csv")
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 200_000], help="how many rows (20000 200000)")
    parser.add_argument("--planted", type=int, default=1000, help="near duplicates and prefixes among them (1000)")
    parser.add_argument("--seed", type=int, default=6, help="seed of the rows and of the planting")
    arguments = parser.parse_args()
    if len(arguments.rows) == 1:
        measure(arguments.data, arguments.rows[0], arguments.planted, arguments.seed)
        return
    for rows in arguments.rows:  # each in a process of its own, whose memory is its own
        options = ["--rows", str(rows), "--planted", str(arguments.planted), "--seed", str(arguments.seed)]
        program = [sys.executable, "-m", "benchmarks.near_duplicates", "--data", str(arguments.data)]
        subprocess.run([*program, *options], check=True)


if __name__ == "__main__":
    main()
