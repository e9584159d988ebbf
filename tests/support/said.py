"""Feedback rows for requests that a test writes with their labels."""

from collections.abc import Sequence

from driftwheel.records.by_whom import Feedback, FeedbackKind, Trust
from driftwheel.records.nouns import Traffic


def words_of(rows: Sequence[Traffic], *, author: str = "support/desk", trust: Trust = Trust.TRUSTED) -> list[Feedback]:
    """Return what somebody said so that the requests have the labels and thumbs that they have."""
    found = []
    for row in rows:
        kinds: dict[FeedbackKind, str] = {} if row.thumb is None else {FeedbackKind.THUMB: str(row.thumb)}
        if row.label is not None:
            is_accepted = row.label_source == "accepted"
            kind = FeedbackKind.THUMB if is_accepted else FeedbackKind(row.label_source or "label")
            kinds[kind] = "1" if is_accepted else row.label
        found += [
            Feedback(
                id=f"feedback_{row.id}_{kind}_{author}",
                project=row.project,
                created_at=row.feedback_at or row.created_at,
                request_id=row.id,
                author=author,
                trust=trust,
                kind=kind,
                value=value,
            )
            for kind, value in kinds.items()
        ]
    return found
