"""Reads labelled traffic as rows to learn from, each with its source; never an unconfirmed answer of the model."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from driftwheel.records.by_whom import Trust
from driftwheel.records.nouns import Traffic
from driftwheel.settings.data import DatasetSettings
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.text.answers import AnswerForm, field_for, label_of, right_label, wrong_form
from driftwheel.text.asked import Asked, UnreadableRequestError, read_answer, read_asked
from driftwheel.text.conversations import said
from driftwheel.text.grades import grade
from driftwheel.traffic.feedback import words_about
from driftwheel.traffic.feedback_summary import decided_by
from driftwheel.traffic.outcome_query import is_answered
from train.data.sources.formats import Row
from train.data.splitting.tally import Tally

LEAST_SHARE = 0.02
"""Of an author's labels, on each side. A model that answers a whole window right, or wrong, is rarer than that."""
LEFT_AS_IT_IS = 0.9
"""chrF of a text beside its correction where a word or two were changed."""
ACCEPTED = "accepted"
UNKNOWN = ""
"""The author of a label that stands in a request without a row of feedback."""


@dataclass(frozen=True)
class LabelledRow:
    """A row, where its answer comes from, and whose word that is."""

    row: Row
    source: str
    """`correction`, `label` or `accepted`."""
    author: str
    is_verified: bool
    """The author is trusted with labels."""
    confirms: bool
    """What was said is that the model was right."""
    asked_by: str = ""
    """Id of the API key that asked."""
    asked_at: datetime | None = None


def labelled_rows(
    settings: DatasetSettings,
    ledger: Ledger,
    project: str,
    alias: str,
    *,
    since: datetime,
    tally: Tally,
    form: AnswerForm | None = None,
    are_texts: bool = False,
) -> list[LabelledRow]:
    """Return the answered requests that people labelled since a moment, newest first.

    `are_texts` says that many texts are right: who corrects one confirms it by changing next to nothing, and a liked
    answer confirms none. An answer in another form than the live version's answers is counted and left out. A label of
    which nobody knows who gave it is nobody's whom one could trust.
    """
    label_field = field_for(form, settings.label_field)
    columns = TABLES[Traffic].c
    traffic = ledger.find(
        Traffic,
        is_answered(),
        columns.label.is_not(None),
        sa.func.coalesce(columns.feedback_at, columns.created_at) > since,
        project=project,
        alias=alias,
    )
    tally.rows_in += len(traffic)
    words = words_about(ledger, [request.id for request in traffic])
    rows = list[LabelledRow]()
    for request in traffic:
        row, word = _row(request, form, label_field, tally), decided_by(words.get(request.id, []))
        if row is None:
            continue
        rows.append(
            LabelledRow(
                row=row,
                source=str(request.label_source),
                author=word.author if word else UNKNOWN,
                is_verified=word is not None and word.trust is Trust.TRUSTED,
                asked_by=request.key_id,
                asked_at=request.created_at,
                confirms=is_left_as_it_is(request) if are_texts else is_confirmed(request, label_field),
            )
        )
    return rows


def one_sided_authors(settings: DatasetSettings, rows: Sequence[LabelledRow]) -> list[str]:
    """Return the trusted authors who say (nearly) only where the model was wrong, or only where it was right.

    Where only wrong answers are corrected the live version has none of these items right, and a candidate that is no
    better, but wrong elsewhere, seems to win.
    """
    if settings.trusted_labels == "sampled":
        return []
    said, confirmed = Counter[str](), Counter[str]()
    for row in rows:
        if row.is_verified:
            said[row.author] += 1
            confirmed[row.author] += row.confirms
    return sorted(author for author, count in said.items() if is_one_sided(confirmed[author], count))


def is_one_sided(confirmed: int, labels: int) -> bool:
    """Say whether (nearly) all labels confirm the answer, or (nearly) none does."""
    return min(confirmed, labels - confirmed) < LEAST_SHARE * labels


def within_cap(settings: DatasetSettings, rows: Sequence[LabelledRow], tally: Tally) -> list[LabelledRow]:
    """Return the rows without accepted ones over `dataset.max_accepted_rows`: trusted ones come first, then the newest.

    So nobody's thumbs take the place of answers that a trusted author accepted.
    """
    accepted = sorted((row for row in rows if row.source == ACCEPTED), key=lambda row: not row.is_verified)
    over = {row.row.place for row in accepted[settings.max_accepted_rows :]}
    if over:
        tally.dropped["over dataset.max_accepted_rows"] += len(over)
    return [row for row in rows if row.row.place not in over]


def is_left_as_it_is(request: Traffic) -> bool:
    """Say whether people corrected a text and changed next to nothing in it."""
    if request.label is None or request.label_source == ACCEPTED:
        return False
    return (grade("chrf", request.answer, [request.label]) or 0.0) >= LEFT_AS_IT_IS


def is_confirmed(request: Traffic, label_field: str | None) -> bool:
    """Say whether the label of a request is what the model said."""
    if request.label is None:
        return False
    is_label_alone = request.label_source == "label" and label_field is not None
    right = request.label if is_label_alone else right_label(request.label, label_field)
    return right == right_label(request.answer, label_field)


def _row(request: Traffic, form: AnswerForm | None, label_field: str | None, tally: Tally) -> Row | None:
    """Return a labelled request as a row, or None if it is none; the report counts why."""
    asked, answer = asked_of(request, tally), right_answer(request, label_field)
    if asked is None:
        return None
    if answer is None:
        tally.dropped["labelled, but the whole right answer is not known"] += 1
        return None
    completion = read_answer(answer, asked.tools)
    if "tool_calls" not in completion and wrong_form(answer, form, label_field):
        tally.dropped["labelled with an answer in another form than the others'"] += 1
        return None
    group = request.conversation_id or request.user_id or None
    return Row(
        request.id,
        asked.messages,
        [completion],
        group,
        request.created_at,
        tools=asked.tools,
        request_id=request.id,
    )


def right_answer(request: Traffic, label_field: str | None) -> str | None:
    """Return the whole right answer, or None if people only said which label it has and the model's has another."""
    if request.label_source in ("correction", ACCEPTED) or label_field is None:
        return request.label
    return request.answer if label_of(request.answer, label_field) == request.label else None


def asked_of(request: Traffic, tally: Tally) -> Asked | None:
    """Return what a logged request asked, or None if that cannot be learned; the report counts what stands against it.

    A row without a body was made by an import; its prompt is all that was asked.
    """
    if not request.request:
        return Asked(messages=[said("user", request.prompt)])
    try:
        return read_asked(request.request, request.route)
    except UnreadableRequestError as reason:
        tally.dropped[f"requests with {reason}"] += 1
        return None
