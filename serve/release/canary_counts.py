"""Counts a canary's evidence from the traffic log: answers as they end, and feedback as it comes."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from driftwheel.identity import utc_now
from driftwheel.records.by_whom import Feedback, FeedbackKind, Trust
from driftwheel.records.nouns import Alias, Traffic
from driftwheel.settings.serving import ServeSettings
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.text.answers import label_of, parse_object
from driftwheel.traffic.feedback import words_about
from driftwheel.traffic.feedback_summary import ANSWERING, counted
from driftwheel.traffic.outcome_query import is_outcome
from driftwheel.traffic.outcomes import UNWATCHED, outcome_of
from driftwheel.traffic.outcomes import Outcome as Fate
from serve.release.canary_rule import Outcome, Tally
from serve.routing.choice import unit_of

LATE_SECONDS = 5.0
"""A row is written this long after its answer ended, at the latest; later ones are not counted."""
MICROSECONDS = 1_000_000
COLUMNS = (
    "id",
    "version_id",
    "status_code",
    "is_partial",
    "latency_seconds",
    "answer",
    "label",
    "label_source",
    "thumb",
    "finish_reason",
    "key_id",
    "user_id",
    "error",
)
"""What an outcome needs of a row; bodies are left out, which are most of its bytes."""


class CanaryCounts:
    """Counts what canary and live version answered; every method blocks."""

    def __init__(
        self,
        serve: ServeSettings,
        ledger: Ledger,
        alias: Alias,
        live_id: str,
        canary_id: str,
        *,
        label_field: str | None,
    ) -> None:
        self._serve, self._ledger, self._alias, self._label_field = serve, ledger, alias, label_field
        self._canary_id, self._versions = canary_id, (live_id, canary_id)
        self._began_at = self._read_until = self._liked_until = utc_now()
        self._seen: dict[str, datetime] = {}
        self._disliked: set[tuple[str, str | None]] = set()
        self.tally = Tally(serve.canary_slowdown)

    def begin(self, share: float) -> None:
        """Begin a period: from now on the canary has this share."""
        self.tally.begin(share)

    def read(self) -> Tally:
        """Count what has come since the last look."""
        now = utc_now()
        for row in self._ended(now):
            if row.id not in self._seen:
                self._seen[row.id] = now
                self.tally.add(self._outcome(row))
        self._read_dislikes()
        self._read_until = now
        # Rows are read again for LATE_SECONDS; what was seen before that cannot come again and need not be remembered.
        horizon = now - timedelta(seconds=2 * LATE_SECONDS)
        self._seen = {id: at for id, at in self._seen.items() if at > horizon}
        return self.tally

    def _read_dislikes(self) -> None:
        """Count each row once for each author whose word on it decides: one that is trusted may come after another."""
        rows = [row for row in self._disliked_rows() if (row.id, None) not in self._disliked]
        words = words_about(self._ledger, [row.id for row in rows])
        for row in rows:
            author = self._untrusted(row.answer, words.get(row.id, []))
            if (row.id, author) not in self._disliked:
                self._disliked.add((row.id, author))
                self.tally.dislike(self._outcome(row), author)

    def _ended(self, now: datetime) -> Sequence[sa.Row[Any]]:
        """Return the rows whose answers ended since the last look; the index bounds how far back is searched."""
        table = TABLES[Traffic].c
        # `created_at` has an index and the end has none; no answer that ended lately began before this.
        oldest = now - timedelta(seconds=self._serve.request_timeout_seconds + LATE_SECONDS)
        ended = sa.type_coerce(table.created_at, sa.BigInteger) + table.latency_seconds * MICROSECONDS
        since = (self._read_until.timestamp() - LATE_SECONDS) * MICROSECONDS
        # A failure is the engine's doing whoever asked: the word of a sender must not hide a canary that is broken.
        # What counts are mishaps, each dealt like the others, so that those of unwatched requests need no answers
        # beside them.
        is_evidence = sa.or_(table.alias == self._alias.name, is_outcome(Fate.FAILED))
        times = (table.created_at >= max(self._began_at, oldest), ended >= since)
        query = self._query(is_evidence, *times).order_by(ended)
        with self._ledger.read() as connection:
            return connection.execute(query).all()

    def _disliked_rows(self) -> Sequence[sa.Row[Any]]:
        # The time before the query: feedback that comes while it runs is found by the next look.
        table, now = TABLES[Traffic].c, utc_now()
        since = self._liked_until - timedelta(seconds=LATE_SECONDS)
        is_disliked = sa.and_(
            table.alias == self._alias.name, sa.or_(table.thumb == -1, table.label_source == "correction")
        )
        query = self._query(table.created_at >= self._began_at, table.feedback_at >= since, is_disliked)
        with self._ledger.read() as connection:
            rows = connection.execute(query.order_by(table.feedback_at)).all()
        self._liked_until = now
        return [row for row in rows if row.thumb == -1 or not self._is_confirmed(row.answer, row.label)]

    def _query(self, *conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
        table = TABLES[Traffic].c
        of_canary = [
            table.project == self._alias.project,
            table.alias.in_((self._alias.name, f"{self._alias.name}{UNWATCHED}")),
            table.version_id.in_(self._versions),
        ]
        return sa.select(*(table[name] for name in COLUMNS)).where(*of_canary, *conditions)

    def _outcome(self, row: sa.Row[Any]) -> Outcome:
        fate = outcome_of(row)
        is_whole = fate is Fate.ANSWERED and row.finish_reason == "stop"
        return Outcome(
            is_canary=row.version_id == self._canary_id,
            unit=unit_of(self._serve.sticky_by, request_id=row.id, key_id=row.key_id, user_id=row.user_id),
            # What is refused counts here: clients ask both versions alike, so a canary that refuses more than its share
            # takes less than the live version does, as one whose chat template raises on a system message.
            is_error=fate in (Fate.FAILED, Fate.REFUSED),
            latency_seconds=row.latency_seconds,
            is_valid=self._label_field is None or not is_whole or parse_object(row.answer) is not None,
        )

    def _untrusted(self, answer: str, given: Sequence[Feedback]) -> str | None:
        """Return who dislikes an answer, or None if that is an author who is trusted."""
        thumbs, words = counted(given, FeedbackKind.THUMB), counted(given, *ANSWERING)
        against = [
            *(w for w in thumbs[:1] if int(w.value) < 0),
            *(w for w in words[:1] if w.kind == FeedbackKind.CORRECTION and not self._is_confirmed(answer, w.value)),
        ]
        if any(word.trust is Trust.TRUSTED for word in against):
            return None
        return against[0].author if against else ""

    def _is_confirmed(self, answer: str, correction: str) -> bool:
        """Say whether a correction has the answer's own label, as that of a person who only looked has."""
        label = label_of(correction, self._label_field)
        return correction == answer or (label is not None and label == label_of(answer, self._label_field))
