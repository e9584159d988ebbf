"""The rows of a test split become named slices: by label, by length of the prompt, by source.

Whether a row is old or new is the row's own `slice`; the gate cuts these names within each of the two.
"""

from collections import Counter
from collections.abc import Sequence

from train.data.examples import Example

LENGTHS = ("short", "middle", "long")


def name_slices(rows: Sequence[Example]) -> dict[str, tuple[str, ...]]:
    """Return for each row's id the names of the slices that it belongs to, such as `label:refund`.

    Lengths are in letters, cut at the terciles of these rows. A slice of one row is none.
    """
    ordered = sorted(len(row.conversation) for row in rows)
    bounds = [ordered[len(rows) * third // 3] for third in (1, 2)] if rows else []
    named = {row.id: _names(row, bounds) for row in rows}
    counts = Counter(name for names in named.values() for name in names)
    return {row_id: tuple(name for name in names if counts[name] > 1) for row_id, names in named.items()}


def _names(row: Example, bounds: Sequence[int]) -> list[str]:
    length = LENGTHS[sum(len(row.conversation) >= bound for bound in bounds)]
    names = [f"length:{length}", f"source:{row.source}"]
    return names if row.label is None else [f"label:{row.label}", *names]
