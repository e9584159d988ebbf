"""Benchmark: share of planted leaks that each method finds, by kind and corpus, and its false alarms.

    python -m benchmarks.leaks [--data DIR] [--rows N] [--share 1.0] [--seed 6] [--show 10]

1,000 leaks are planted among training rows of Banking77 (Casanueva et al. 2020, CC BY 4.0, read from DIR) and of the
support example. Beside driftwheel's check stand the two usual ones: hashes of the lowercased texts, and datasketch's
MinHash over words at a threshold of 0.8. Every bound is Clopper and Pearson's, 95 %.
"""

import argparse
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from datasketch import MinHash, MinHashLSH
from rich.console import Console
from rich.table import Table
from scipy.stats import beta

from benchmarks.banking77 import DATA, read
from examples.support.world import messages
from tests.support import planted_leaks
from train.data.examples import Example
from train.data.splitting.leaks import HeldOut

SIMILARITY, CUT, BEFORE, AFTER = 0.9, "2026-06-01", "2026-01-01", "2026-07-01"


@dataclass(frozen=True)
class Corpus:
    """Rows that judge, and rows to learn from among which the leaks are planted."""

    name: str
    judging: list[Example]
    clean: list[Example]


def banking77(data: Path, rows: int | None = None) -> Corpus:
    """Take the test questions to judge and the training questions to learn from."""
    test, train = ([(q.text, q.intent) for q in read(data / f"{name}.csv")[:rows]] for name in ("test", "train"))
    return Corpus("Banking77", _rows("test", test), _rows("train", train))


def example(rows: int | None = None) -> Corpus:
    """Take 1,000 messages of the example to judge and 3,000 of another seed to learn from."""
    sizes = ((rows or 1000, 1), (rows or 3000, 2))
    judging, learned = ([(e.text, e.intent) for e in messages(n, seed, "steady")] for n, seed in sizes)
    return Corpus("example", _rows("test", judging), _rows("train", learned))


def _rows(name: str, pairs: Sequence[tuple[str, str]]) -> list[Example]:
    return [_row(f"{name}-{n}", text, label) for n, (text, label) in enumerate(pairs)]


def _row(name: str, text: str, label: str, group: str | None = None, at: str = BEFORE) -> Example:
    return Example(name, [{"role": "user", "content": text}], [], label, group or name, time=at)


def plant(corpus: Corpus, seed: int, share: float) -> dict[str, list[Example]]:
    """Return the planted rows by kind."""
    found: dict[str, list[Example]] = {}
    for number, leak in enumerate(planted_leaks.plant([row.text for row in corpus.judging], seed, share)):
        item = corpus.judging[leak.item]
        group = item.group if leak.kind == "same conversation" else None
        at = AFTER if leak.kind == "future-dated" else BEFORE
        found.setdefault(leak.kind, []).append(_row(f"planted-{number}", leak.text, str(item.label), group, at))
    return found


def driftwheel(judging: Sequence[Example], rows: Sequence[Example]) -> dict[str, list[Example]]:
    """Return the rows that driftwheel calls leaks, with the row that each resembles."""
    leaks = HeldOut(judging, SIMILARITY, CUT).leaks(rows)
    return {leak.row.id: [leak.held_out] if leak.held_out else [] for leak in leaks}


def exact_hashes(judging: Sequence[Example], rows: Sequence[Example]) -> dict[str, list[Example]]:
    """Return the rows whose lowercased text is a judging row's."""
    known = {row.text.strip().lower(): row for row in judging}
    return {row.id: [known[key]] for row in rows if (key := row.text.strip().lower()) in known}


def minhash(judging: Sequence[Example], rows: Sequence[Example]) -> dict[str, list[Example]]:
    """Return the rows that datasketch finds by the words they share, as its documentation shows."""
    index = MinHashLSH(threshold=0.8, num_perm=128)
    for number, row in enumerate(judging):
        index.insert(number, _sketch(row.text))
    found = {row.id: [judging[n] for n in index.query(_sketch(row.text))] for row in rows}
    return {row_id: others for row_id, others in found.items() if others}


def _sketch(text: str) -> MinHash:
    sketch = MinHash(num_perm=128)
    sketch.update_batch([word.encode() for word in text.lower().split()])
    return sketch


METHODS: dict[str, Callable[[Sequence[Example], Sequence[Example]], dict[str, list[Example]]]] = {
    "driftwheel": driftwheel,
    "hashes": exact_hashes,
    "MinHash": minhash,
}


def lower_bound(caught: int, planted: int) -> float:
    """Return the lower end of Clopper and Pearson's one-sided 95 % interval."""
    return float(beta.ppf(0.05, caught, planted - caught + 1)) if caught else 0.0


def measure(console: Console, corpus: Corpus, seed: int, shown: int, share: float) -> None:
    """Print what each method catches and what it calls a leak among the rows that were not planted."""
    planted = plant(corpus, seed, share)
    rows = [*corpus.clean, *(row for group in planted.values() for row in group)]
    random.Random(0).shuffle(rows)
    found, seconds = {}, {}
    for name, method in METHODS.items():
        begin = time.process_time()
        found[name] = method(corpus.judging, rows)
        seconds[name] = time.process_time() - begin
    print_caught(console, corpus, planted, found)
    for name, flagged in found.items():
        print_wrong(console, corpus, name, flagged, shown if name == "driftwheel" else 0)
        console.print(f"  {seconds[name]:.1f} s of CPU for {len(rows):,} rows against {len(corpus.judging):,}")
    for kind, group in planted.items():
        missed = [row for row in group if row.id not in found["driftwheel"]]
        for row in missed[:shown]:
            console.print(f"  missed ({kind}): {row.text!r}", markup=False)


def print_caught(
    console: Console, corpus: Corpus, planted: dict[str, list[Example]], found: dict[str, dict[str, list[Example]]]
) -> None:
    """Print a table with a row for each kind of leak."""
    table = Table("kind", "planted", *found, "bound", title=f"{corpus.name}: planted leaks that are caught")
    sums = {"all near duplicates": planted_leaks.NEAR_DUPLICATES, "to the letter": planted_leaks.TO_THE_LETTER}
    kinds = {**{kind: (kind,) for kind in planted}, **sums, "all": tuple(planted)}
    for kind, parts in kinds.items():
        rows = [row for part in parts for row in planted[part]]
        caught = {name: sum(row.id in flagged for row in rows) for name, flagged in found.items()}
        bound = f">= {lower_bound(caught['driftwheel'], len(rows)):.2%}"
        table.add_row(kind, str(len(rows)), *(f"{count / len(rows):.1%}" for count in caught.values()), bound)
    console.print(table)


def print_wrong(console: Console, corpus: Corpus, name: str, flagged: dict[str, list[Example]], shown: int) -> None:
    """Print how many unplanted rows are flagged beside a judging row of another label, and some of them."""
    pairs = [(row, other) for row in corpus.clean for other in flagged.get(row.id, [])]
    wrong = [(row, other) for row, other in pairs if row.label != other.label]
    count, total = len({row.id for row, _ in wrong}), len(corpus.clean)
    upper = float(beta.ppf(0.95, count + 1, total - count))
    flagged_rows = len({row.id for row, _ in pairs})
    console.print(
        f"{name}: of {total:,} unplanted rows {flagged_rows} are flagged, {count} of them ({count / total:.2%}, "
        f"at most {upper:.2%}) beside a judging row of another label"
    )
    for row, other in random.Random(0).sample(wrong, min(shown, len(wrong))):
        console.print(f"  {row.text!r} ({row.label}) | {other.text!r} ({other.label})", markup=False)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Planted leaks, caught or not.")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with Banking77's train.csv and test.csv")
    parser.add_argument("--rows", type=int, help="judging rows and rows to learn from of each corpus (all)")
    parser.add_argument("--share", type=float, default=1.0, help="share of the 1,000 leaks (1.0)")
    parser.add_argument("--seed", type=int, default=6, help="seed of the planting")
    parser.add_argument("--show", type=int, default=10, help="pairs and misses printed for a person to judge")
    arguments = parser.parse_args()
    console = Console(soft_wrap=True, highlight=False)
    for corpus in (banking77(arguments.data, arguments.rows), example(arguments.rows)):
        measure(console, corpus, arguments.seed, arguments.show, arguments.share)


if __name__ == "__main__":
    main()
