"""Names the slices of a test split: by label, by length of the prompt, by source, by age, by the user's own groups.

Whether a row is old or new is the row's own `slice`; the gate cuts these names within each of the two.
"""

from collections import Counter
from collections.abc import Sequence

from train.data.examples import Example

LENGTHS = ("short", "middle", "long")
NEWEST_SHARE = 0.25


def name_slices(rows: Sequence[Example]) -> dict[str, tuple[str, ...]]:
    """Return for each row's id the names of the slices that it belongs to, such as `label:refund`.

    Lengths are in letters, cut at the terciles of these rows. Of the rows with a time the newest quarter is one slice
    and the older are another, among old rows and among new ones. A slice of one row is none.
    """
    ordered = sorted(len(row.conversation) for row in rows)
    bounds = [ordered[len(rows) * third // 3] for third in (1, 2)] if rows else []
    newest = {part: _newest_from([row for row in rows if row.slice == part]) for part in {row.slice for row in rows}}
    named = {row.id: _names(row, bounds, newest[row.slice]) for row in rows}
    counts = Counter(name for names in named.values() for name in names)
    return {row_id: tuple(name for name in names if counts[name] > 1) for row_id, names in named.items()}


def _newest_from(rows: Sequence[Example]) -> str:
    """Return the time at which the newest quarter of some rows begins; empty if none has a time."""
    times = sorted(row.time for row in rows if row.time)
    return times[int(len(times) * (1 - NEWEST_SHARE))] if times else ""


def _names(row: Example, bounds: Sequence[int], newest_from: str) -> list[str]:
    length = LENGTHS[sum(len(row.conversation) >= bound for bound in bounds)]
    names = [f"length:{length}", f"source:{row.source}", *(f"{name}:{value}" for name, value in row.groups.items())]
    if row.time:
        names.append("age:newest" if row.time >= newest_from else "age:older")
    return names if row.label is None else [f"label:{row.label}", *names]
