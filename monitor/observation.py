"""Observations of answered requests and judged test items, and samples of them; pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Protocol

from driftwheel.text.answers import label_of
from driftwheel.text.grades import Criterion, grade
from driftwheel.traffic.outcomes import Outcome, outcome_of

ACCEPTED = "accepted"
"""Source of a label that a thumb up made of the answer itself: an opinion, and no label."""


class TrafficColumns(Protocol):
    """The columns of a logged request that are observed; only these are loaded, so reading another is a type error."""

    @property
    def id(self) -> str: ...
    @property
    def prompt(self) -> str: ...
    @property
    def answer(self) -> str: ...
    @property
    def label(self) -> str | None: ...
    @property
    def label_source(self) -> str | None: ...
    @property
    def thumb(self) -> int | None: ...
    @property
    def key_id(self) -> str: ...
    @property
    def latency_seconds(self) -> float: ...
    @property
    def status_code(self) -> int: ...
    @property
    def is_partial(self) -> bool: ...
    @property
    def error(self) -> str | None: ...
    @property
    def created_at(self) -> datetime: ...


OBSERVED = frozenset(name for name, value in vars(TrafficColumns).items() if isinstance(value, property))


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What the monitor looks at of one answered request or one judged test item."""

    id: str
    prompt: str
    answer: str
    label: str | None
    """Label that the answer claims."""
    right_label: str | None = None
    """Label that people gave; None where nobody did, or only liked the answer."""
    grade: float | None = None
    """How good the answer is beside the one that people wrote instead, where answers are good by degrees."""
    thumb: int | None = None
    author: str = ""
    """The key that asked."""
    latency_seconds: float | None = None
    is_failed: bool = False
    at: datetime | None = None

    @property
    def is_correct(self) -> bool | None:
        """Whether the answer's label is the right one; None where that is not known."""
        return None if self.right_label is None else self.label == self.right_label


def without_repeats(rows: Sequence[Observation]) -> tuple[Observation, ...]:
    """Keep the first of what one key asks word for word again: a client that resends is one user, and no drift."""
    kept: dict[tuple[str, str], Observation] = {}
    for row in rows:
        kept.setdefault((row.author, row.prompt), row)
    return tuple(kept.values())


@dataclass(frozen=True)
class Sample:
    """Consecutive observations."""

    rows: tuple[Observation, ...]

    @property
    def answered(self) -> tuple[Observation, ...]:
        """The rows with a whole answer."""
        return tuple(row for row in self.rows if not row.is_failed)

    @property
    def started_at(self) -> datetime | None:
        """The earliest moment; a clock that was set back does not turn a sample around."""
        return min((row.at for row in self.rows if row.at is not None), default=None)

    @property
    def ended_at(self) -> datetime | None:
        """The latest moment."""
        return max((row.at for row in self.rows if row.at is not None), default=None)


# Each check reads the version's first and newest windows again.
@lru_cache(maxsize=8192)
def grade_of(criterion: Criterion | None, answer: str, right: str | None) -> float | None:
    """Return the grade of an answer beside the one that people wrote instead; None where nobody did or none applies.

    A correction is one right answer, as the expected one of a test item is: only beside one have both the same scale.
    """
    return None if criterion is None or right is None else grade(criterion, answer, [right])


def observe(row: TrafficColumns, label_field: str | None, criterion: Criterion | None = None) -> Observation:
    """Turn a traffic row into an observation; a row that was refused or left is none, and must not come here."""
    given = right = None if row.label_source == ACCEPTED else row.label
    is_whole = row.label_source != "label" or label_field is None
    if right is not None and row.label_source != "label":
        right = label_of(right, label_field)
    return Observation(
        id=row.id,
        prompt=row.prompt,
        answer=row.answer,
        label=label_of(row.answer, label_field),
        right_label=right,
        grade=grade_of(criterion, row.answer, given) if is_whole else None,
        thumb=row.thumb,
        author=row.key_id,
        latency_seconds=row.latency_seconds,
        is_failed=outcome_of(row) is Outcome.FAILED,
        at=row.created_at,
    )
