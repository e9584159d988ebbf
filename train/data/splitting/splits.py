"""Splits examples into training, validation and test rows: whole groups, by label, or by time where rows have one.

A group is what must not be parted: rows of one conversation or user, and rows whose prompts resemble one another.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from driftwheel.records.dataset_report import SharedFrame
from train.data.examples import Example
from train.data.near_duplicates.duplicates import NearDuplicates, root
from train.data.splitting.shared_frame import NOTHING_SHARED, Compared
from train.data.tokens.learned_tokens import Learn, each_learned

SPLITS = ("train", "validation", "test")
Splits = dict[str, list[Example]]


def group_numbers(
    examples: Sequence[Example], similarity: float, learn: Learn = "last", shared: SharedFrame = NOTHING_SHARED
) -> list[int]:
    """Return a group number per example: equal groups and prompts that resemble one another share one.

    Where all turns are learned, what asks for an earlier turn resembles prompts too; two of these that do not judge
    may be alike, so that not all that begins with a greeting is one group.
    """
    compared = Compared(shared)
    index = NearDuplicates(compared.texts([e.conversation for e in examples]), similarity)
    parents = index.clusters()
    first: dict[str, int] = {}
    joined = [(number, first.setdefault(e.group, number)) for number, e in enumerate(examples)]
    earlier = [(number, turn) for number, e in enumerate(examples) for turn in each_learned([e], learn)[1:]]
    like = index.first_of_each_like(compared.texts([turn.conversation for _, turn in earlier]))
    for number, other in [*joined, *((earlier[asked][0], found) for asked, found in like)]:
        a, b = sorted((root(parents, number), root(parents, other)))
        parents[b] = a
    return [root(parents, number) for number in range(len(parents))]


@dataclass(frozen=True)
class Deal:
    """What is dealt out, and what was decided before."""

    examples: Sequence[Example]
    groups: Sequence[int]
    """A group number per example."""
    shares: Mapping[str, float]
    """Share of the rows wanted in `test` and in `validation`; the rest is `train`."""
    pinned: Collection[int] = ()
    """Groups that belong to the test split because an earlier one had rows like theirs."""
    trained: Collection[int] = ()
    """Groups with rows that a version may have learned; they are held out last."""

    def members(self) -> dict[int, list[Example]]:
        """Return the examples of each group."""
        members: dict[int, list[Example]] = defaultdict(list)
        for example, group in zip(self.examples, self.groups, strict=True):
            members[group].append(example)
        return dict(members)


def split_by_label(deal: Deal, seed: int) -> Splits:
    """Deal out whole groups, label by label, until each split has its share."""
    members = deal.members()
    by_label: dict[str, list[int]] = defaultdict(list)
    for group, rows in members.items():
        by_label[Counter(str(e.label) for e in rows).most_common(1)[0][0]].append(group)
    splits: Splits = {name: [] for name in SPLITS}
    chance = random.Random(seed)
    # A task of free text has as many labels as rows; then one stratum serves all.
    strata = list(by_label.values()) if len(by_label) * 5 < len(deal.examples) else [list(members)]
    for stratum in strata:
        chance.shuffle(stratum)
        size = sum(len(members[group]) for group in stratum)
        wanted = {name: share * size for name, share in deal.shares.items()}
        wanted["test"] -= sum(len(members[group]) for group in stratum if group in deal.pinned)
        # What a version may have learned is dealt out last, when the judging splits are mostly full.
        for group in sorted(stratum, key=lambda g: g in deal.trained):
            if group in deal.pinned:
                splits["test"] += members[group]
                continue
            size = len(members[group])
            # A group goes where half of it or more is still wanted: a share is missed by half a group at most.
            name = next((n for n, left in wanted.items() if left >= size / 2 and left > 0), "train")
            splits[name] += members[group]
            if name in wanted:
                wanted[name] -= size
    return splits


@dataclass
class TimedSplits:
    """Splits by time, and the moments that part them."""

    splits: Splits = field(default_factory=lambda: {name: [] for name in SPLITS})
    cuts: dict[str, str] = field(default_factory=dict)
    """For `test` and `validation`: no row of an earlier split is dated after it."""


def split_by_time(deal: Deal) -> TimedSplits:
    """Put the newest share of rows into the test split, the next into validation, the rest into training.

    A group that spans a cut goes whole to the later split: then a model never learns from a row that is newer than
    the cut it is judged after, and the price is only that some judged rows are older.
    """
    found, members = TimedSplits(), deal.members()
    for group in (g for g in members if g in deal.pinned):
        found.splits["test"] += members[group]
    newest = {g: max(str(e.time) for e in rows) for g, rows in members.items() if g not in deal.pinned}
    waiting = sorted(newest, key=lambda g: newest[g])
    rows = sum(len(members[group]) for group in waiting)
    for name in ("test", "validation"):
        wanted = deal.shares[name] * rows
        while waiting and wanted > 0:
            group = waiting.pop()
            found.splits[name] += members[group]
            found.cuts[name] = newest[group]
            wanted -= len(members[group])
    for group in waiting:
        found.splits["train"] += members[group]
    return found
