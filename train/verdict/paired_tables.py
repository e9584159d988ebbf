"""Tables of paired answers, right or wrong ones and graded ones: of the target, of each other part, of each slice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from driftwheel.text.grades import Criterion
from train.verdict.graded import GradedPairs
from train.verdict.paired import Pairs

Role = Literal["target", "part", "contract", "fixed", "slice"]

TARGET = "new"
EVERYTHING = "all"
LIVE = "the live version"


@dataclass(frozen=True)
class Item:
    """One test item, whether the answer to it was right, and the slices that it belongs to beside its part."""

    id: str
    slice: str
    is_correct: bool
    slices: tuple[str, ...] = ()
    grade: float | None = None
    """From 0 to 1; None where the criterion or its grader could not tell."""

    def outcome(self, criterion: Criterion) -> float | None:
        """Return what the gate compares: 0 or 1 for labels, and otherwise the grade."""
        return float(self.is_correct) if criterion == "right" else self.grade


Outcomes = Mapping[str, float | None]
"""By item id, how good the answer was; None is an answer without a grade."""


@dataclass(frozen=True)
class Fixed:
    """A slice that an earlier promoted version won, with its answers there."""

    slice: str
    version: int
    gain: float
    answers: Outcomes
    """That version's own."""


@dataclass(frozen=True)
class Table:
    """The pairs of one slice, and what is asked of it."""

    pairs: Pairs | GradedPairs
    role: Role
    against: str = LIVE
    gain: float = 0.0
    """What was won there, for a slice that stays fixed."""
    part_noise: float = 0.0
    """Noise of the part that a slice is cut from: a steadier estimate than the slice's own."""
    ungraded: int = 0
    """Items that one of the two has no grade on; they are not among the pairs."""

    @property
    def noise(self) -> float:
        """How an equal candidate would differ: the share of items, or the variance of the grades' differences."""
        return max(self.pairs.noise, self.part_noise)


def groups(items: Sequence[Item]) -> dict[str, list[Item]]:
    """Return the target, then every other part, then every slice cut within its part, by name.

    A slice of a test set with several parts is named after its part too: `old label:refund`.
    """
    parts = {name: [i for i in items if i.slice == name] for name in sorted({item.slice for item in items})}
    found = {TARGET: parts[TARGET]} if TARGET in parts else {EVERYTHING: list(items)}
    if len(parts) > 1:
        found |= {name: members for name, members in parts.items() if name not in found}
    cut: dict[str, list[Item]] = {}
    for part, members in parts.items():
        for item in members:
            for name in item.slices:
                cut.setdefault(f"{part} {name}" if len(parts) > 1 else name, []).append(item)
    return found | {name: cut[name] for name in sorted(cut) if len(cut[name]) < len(parts[cut[name][0].slice])}


def count(
    candidate: Sequence[Item],
    live: Outcomes,
    contracts: Sequence[str],
    fixed: Sequence[Fixed],
    criterion: Criterion = "right",
) -> list[Table]:
    """Return the tables, the target's first; `live` holds the live version's outcomes by the criterion.

    A contract or fixed slice without any item gets an empty table; a part is kept without a contract.
    """
    found, parts = groups(candidate), {item.slice for item in candidate}
    tables: list[Table] = []
    noise: dict[str, float] = {}
    for number, (name, items) in enumerate(found.items()):
        pairs, ungraded = _pairs(name, items, live, criterion)
        if number == 0 or name in parts:
            noise[name] = pairs.noise if pairs.items else 0.0
            tables.append(Table(pairs, "part" if number else "target", ungraded=ungraded))
        elif name not in contracts:
            steady = noise.get(items[0].slice, noise[next(iter(noise))])
            tables.append(Table(pairs, "slice", part_noise=steady, ungraded=ungraded))
    for name in [contract for contract in contracts if contract not in noise]:
        items = found.get(name) or [item for item in candidate if name in item.slices]
        pairs, ungraded = _pairs(name, items, live, criterion)
        tables.append(Table(pairs, "contract", ungraded=ungraded))
    for won in fixed:
        items = [item for item in candidate if item.id in won.answers]
        steady = noise.get(items[0].slice, noise[next(iter(noise))]) if items else 0.0
        pairs, ungraded = _pairs(f"{won.slice} of v{won.version}", items, won.answers, criterion)
        tables.append(Table(pairs, "fixed", f"v{won.version}", won.gain, steady, ungraded))
    return tables


def _pairs(name: str, items: Sequence[Item], other: Outcomes, criterion: Criterion) -> tuple[Pairs | GradedPairs, int]:
    """Return the pairs of a slice, and how many of its items lack a grade."""
    both = [(item.outcome(criterion), other[item.id]) for item in items]
    if criterion == "right":
        cells = ((True, True), (True, False), (False, True), (False, False))
        return Pairs(name, *(both.count(cell) for cell in cells)), 0
    graded = [(mine, theirs) for mine, theirs in both if mine is not None and theirs is not None]
    pairs = GradedPairs(name, tuple(mine for mine, _ in graded), tuple(theirs for _, theirs in graded))
    return pairs, len(both) - len(graded)
