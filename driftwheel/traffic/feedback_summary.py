"""Sums up what several authors said about one answer: whose word counts, and what follows from it; pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from driftwheel.by_whom import Feedback, FeedbackKind, Trust

BY_TRUST = tuple(Trust)
"""The least trusted first."""
ANSWERING = (FeedbackKind.LABEL, FeedbackKind.CORRECTION)
"""What says which answer is right."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The fields of a Traffic row that follow from its feedback."""

    thumb: int | None = None
    label: str | None = None
    label_source: str | None = None
    feedback_at: datetime | None = None


def counted(given: Sequence[Feedback], *kinds: FeedbackKind) -> list[Feedback]:
    """Return the newest row of each author among those of the kinds, the most trusted author's first, then the newest.

    What was withdrawn counts for nothing, so that an author's word before it is the newest again.
    """
    of_author: dict[str, Feedback] = {}
    for row in sorted(given, key=_age):
        if row.kind in kinds and row.withdrawn_at is None:
            of_author[row.author] = row
    return sorted(of_author.values(), key=lambda row: (BY_TRUST.index(Trust(row.trust)), _age(row)), reverse=True)


def summed_up(answer: str, given: Sequence[Feedback]) -> Summary:
    """Return what the feedback of one request amounts to; an answer that a thumb up accepts is its own label."""
    thumbs, words = counted(given, FeedbackKind.THUMB), counted(given, *ANSWERING)
    thumb = int(thumbs[0].value) if thumbs else None
    label, source = (words[0].value, str(words[0].kind)) if words else (None, None)
    if not words and thumb == 1:
        label, source = answer, "accepted"
    moments = [row.created_at for row in given if row.withdrawn_at is None]
    return Summary(thumb=thumb, label=label, label_source=source, feedback_at=max(moments, default=None))


def decided_by(given: Sequence[Feedback]) -> Feedback | None:
    """Return the word that the label of a request follows from, or None where nothing says which answer is right."""
    words = counted(given, *ANSWERING)
    if words:
        return words[0]
    thumbs = counted(given, FeedbackKind.THUMB)
    return thumbs[0] if thumbs and int(thumbs[0].value) == 1 else None


def _age(row: Feedback) -> tuple[datetime, bool, str]:
    # A correction goes before a label of the same call: it says which label is right, and the rest of the answer too.
    return row.created_at, row.kind == FeedbackKind.CORRECTION, row.id
