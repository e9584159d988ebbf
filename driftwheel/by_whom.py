"""Records of who said what about an answer, and how far each author is trusted."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from driftwheel.identity import utc_now


class Trust(StrEnum):
    """How far an author of feedback is trusted; each may what those above it may."""

    NONE = "none"  # on one's own requests, and counted only within the caps on what nobody has verified
    LABEL = "label"  # on anybody's requests, within the same caps
    TRUSTED = "trusted"  # on anybody's requests, without a cap: the only word that may judge a candidate


class FeedbackKind(StrEnum):
    THUMB = "thumb"  # what one thinks of the answer: 1 up, -1 down
    LABEL = "label"  # the right label
    CORRECTION = "correction"  # the whole right answer
    COMMENT = "comment"  # what one has to say about it
    SIGNAL = "signal"  # what one did with it, such as `regenerated`


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """One thing that one author said about one answer; a row is never changed but to be withdrawn."""

    prefix: ClassVar[str] = "feedback"
    id: str
    project: str
    created_at: datetime = field(default_factory=utc_now)
    request_id: str
    author: str
    """Id of the API key, or `person:` and a name; `legacy` for what was said before authors were written down."""
    trust: Trust
    """How far the author was trusted then."""
    kind: FeedbackKind
    value: str
    """What was said; of a thumb `1` or `-1`."""
    withdrawn_at: datetime | None = None
    """Since then it counts no more."""
