"""A version's requests become consecutive windows, and the oldest unchecked one is cut. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What the monitor looks at of one answered request or one judged test item."""

    id: str
    prompt: str
    answer: str
    label: str | None
    """Label that the answer claims."""
    right_label: str | None = None
    """Label that people gave; None where nobody did."""
    latency_seconds: float | None = None
    is_failed: bool = False
    at: datetime | None = None

    @property
    def is_correct(self) -> bool | None:
        """Whether the answer's label is the right one; None where that is not known."""
        return None if self.right_label is None else self.label == self.right_label


@dataclass(frozen=True)
class Window:
    """Consecutive observations."""

    rows: tuple[Observation, ...]

    @property
    def answered(self) -> tuple[Observation, ...]:
        """The rows with a whole answer."""
        return tuple(row for row in self.rows if not row.is_failed)

    @property
    def started_at(self) -> datetime | None:
        """The earliest moment; a clock that was set back does not turn a window around."""
        return min((row.at for row in self.rows if row.at is not None), default=None)

    @property
    def ended_at(self) -> datetime | None:
        """The latest moment."""
        return max((row.at for row in self.rows if row.at is not None), default=None)


def next_window(rows: Sequence[Observation], checked_ids: frozenset[str], window_rows: int) -> Window | None:
    """Return the oldest full window of rows that no earlier window held, or None if there are too few.

    Rows are known by id, not by time or place, so that a jump of the clock neither uses a row twice nor loses one.
    """
    unchecked = [row for row in rows if row.id not in checked_ids]
    return Window(tuple(unchecked[:window_rows])) if len(unchecked) >= window_rows else None
