"""Reads labelled traffic as rows to learn from, each with its source; never an unconfirmed answer of the model."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from driftwheel.answers import AnswerForm, field_for, label_of, wrong_form
from driftwheel.asked import Asked, UnreadableRequestError, read_answer, read_asked
from driftwheel.conversations import said
from driftwheel.records import Traffic
from driftwheel.settings.data import DatasetSettings
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.traffic.outcome_query import is_answered
from train.data.formats import Row
from train.data.tally import Tally


@dataclass(frozen=True)
class LabelledRow:
    """A row and where its answer comes from: `correction`, `label` or `accepted`."""

    row: Row
    source: str


def labelled_rows(
    settings: DatasetSettings,
    ledger: Ledger,
    project: str,
    alias: str,
    *,
    since: datetime,
    tally: Tally,
    form: AnswerForm | None = None,
) -> list[LabelledRow]:
    """Return the answered requests that people labelled since a moment, newest first, within the caps.

    An answer in another form than the live version's answers is counted and left out.
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
    per_user: Counter[str] = Counter()
    accepted, rows = 0, list[LabelledRow]()
    for request in traffic:
        row = _row(request, form, label_field, tally)
        source, user = str(request.label_source), request.user_id or request.key_id
        if row is None:
            continue
        if per_user[user] >= settings.max_rows_per_user:
            tally.dropped["over dataset.max_rows_per_user"] += 1
        elif source == "accepted" and accepted >= settings.max_accepted_rows:
            tally.dropped["over dataset.max_accepted_rows"] += 1
        else:
            per_user[user] += 1
            accepted += source == "accepted"
            rows.append(LabelledRow(row, source))
    return rows


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
    return Row(request.id, asked.messages, [completion], group, request.created_at, tools=asked.tools)


def right_answer(request: Traffic, label_field: str | None) -> str | None:
    """Return the whole right answer, or None if people only said which label it has and the model's has another."""
    if request.label_source in ("correction", "accepted") or label_field is None:
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
