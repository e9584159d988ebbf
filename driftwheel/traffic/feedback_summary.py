"""Sums up what several authors said about one answer: whose word counts, and what follows from it; pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from driftwheel.records.by_whom import Feedback, FeedbackKind, Trust

BY_TRUST = tuple(Trust)
"""The least trusted first."""
ANSWERING = (FeedbackKind.LABEL, FeedbackKind.CORRECTION)
"""What says which answer is right."""
DECIDING = (*ANSWERING, FeedbackKind.THUMB)
"""What a request's label and thumb follow from; comments and signals stand beside it."""


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
    return sorted(of_author.values(), key=lambda row: (_trust(row), _age(row)), reverse=True)


def summed_up(answer: str, given: Sequence[Feedback]) -> Summary:
    """Return what the feedback of one request amounts to; an answer that a thumb up accepts is its own label."""
    thumbs, word = counted(given, FeedbackKind.THUMB), decided_by(given)
    thumb = int(thumbs[0].value) if thumbs else None
    label, source = (word.value, str(word.kind)) if word else (None, None)
    if word and word.kind == FeedbackKind.THUMB:
        label, source = answer, "accepted"
    return Summary(thumb=thumb, label=label, label_source=source, feedback_at=_changed_at(given))


def _changed_at(given: Sequence[Feedback]) -> datetime | None:
    """Return when what the feedback amounts to, or how far that is trusted, was last changed by a word.

    Who says again what was said makes no old label a fresh one, such as a person who confirms what a key said that is
    as trusted as they are.
    """
    said = sorted((row for row in given if row.kind in DECIDING and row.withdrawn_at is None), key=_age)
    while said and _standing(said) == _standing(said[:-1]):
        said.pop()
    return said[-1].created_at if said else None


def _standing(given: Sequence[Feedback]) -> tuple[object, ...]:
    word, thumbs = decided_by(given), counted(given, FeedbackKind.THUMB)
    return (word.kind, word.value, word.trust) if word else None, thumbs[0].value if thumbs else None


def decided_by(given: Sequence[Feedback]) -> Feedback | None:
    """Return the word that the label of a request follows from, or None where nothing says which answer is right.

    A thumb up of higher trust goes before a label or correction of lower trust.
    """
    words, thumbs = counted(given, *ANSWERING), counted(given, FeedbackKind.THUMB)
    accepting = [row for row in thumbs[:1] if int(row.value) == 1]
    # The first of equals is taken, and so an answering word goes before a thumb of the same trust.
    return max([*words[:1], *accepting], key=_trust, default=None)


def _trust(row: Feedback) -> int:
    return BY_TRUST.index(Trust(row.trust))


def _age(row: Feedback) -> tuple[datetime, bool, str]:
    # A correction goes before a label of the same call: it says which label is right, and the rest of the answer too.
    return row.created_at, row.kind == FeedbackKind.CORRECTION, row.id
