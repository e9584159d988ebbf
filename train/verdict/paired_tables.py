"""Four-fold tables of paired answers: of the target, of each other part, of each slice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

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


@dataclass(frozen=True)
class Fixed:
    """A slice that an earlier promoted version won, with its answers there."""

    slice: str
    version: int
    gain: float
    answers: Mapping[str, bool]
    """By item id, whether that version was right."""


@dataclass(frozen=True)
class Table:
    """The pairs of one slice, and what is asked of it."""

    pairs: Pairs
    role: Role
    against: str = LIVE
    gain: float = 0.0
    """What was won there, for a slice that stays fixed."""
    part_noise: float = 0.0
    """Noise of the part that a slice is cut from: a steadier estimate than the slice's own."""

    @property
    def noise(self) -> float:
        """Share of items on which an equal candidate would differ."""
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
    candidate: Sequence[Item], live: Mapping[str, bool], contracts: Sequence[str], fixed: Sequence[Fixed]
) -> list[Table]:
    """Return the tables, the target's first; `live` says by item id whether the live version was right.

    A contract or fixed slice without any item gets an empty table; a part is kept without a contract.
    """
    found, parts = groups(candidate), {item.slice for item in candidate}
    tables: list[Table] = []
    noise: dict[str, float] = {}
    for number, (name, items) in enumerate(found.items()):
        pairs = _pairs(name, items, live)
        if number == 0 or name in parts:
            noise[name] = pairs.noise
            tables.append(Table(pairs, "part" if number else "target"))
        elif name not in contracts:
            tables.append(Table(pairs, "slice", part_noise=noise.get(items[0].slice, tables[0].pairs.noise)))
    for name in [contract for contract in contracts if contract not in noise]:
        items = found.get(name) or [item for item in candidate if name in item.slices]
        tables.append(Table(_pairs(name, items, live), "contract"))
    for won in fixed:
        items = [item for item in candidate if item.id in won.answers]
        steady = noise.get(items[0].slice, tables[0].pairs.noise) if items else 0.0
        pairs = _pairs(f"{won.slice} of v{won.version}", items, won.answers)
        tables.append(Table(pairs, "fixed", f"v{won.version}", won.gain, steady))
    return tables


def _pairs(name: str, items: Sequence[Item], other: Mapping[str, bool]) -> Pairs:
    outcomes = [(item.is_correct, other[item.id]) for item in items]
    both, gained, lost, neither = (
        outcomes.count(kind) for kind in ((True, True), (True, False), (False, True), (False, False))
    )
    return Pairs(name, both, gained, lost, neither)
