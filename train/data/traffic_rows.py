"""Reads labelled traffic as rows to learn from, each with its source; never an unconfirmed answer of the model."""

import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from driftwheel.answers import label_of
from driftwheel.conversations import Message, said
from driftwheel.records import Traffic
from driftwheel.settings.data import DatasetSettings
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from train.data.formats import Row
from train.data.tally import Tally
from train.shapes.turns import ROLES


@dataclass(frozen=True)
class LabelledRow:
    """A row and where its answer comes from: `correction`, `label` or `accepted`."""

    row: Row
    source: str


def labelled_rows(
    settings: DatasetSettings, ledger: Ledger, project: str, alias: str, *, since: datetime, tally: Tally
) -> list[LabelledRow]:
    """Return the answered requests that people labelled since a moment, newest first, within the caps."""
    columns = TABLES[Traffic].c
    traffic = ledger.find(
        Traffic,
        columns.label.is_not(None),
        sa.func.coalesce(columns.feedback_at, columns.created_at) > since,
        project=project,
        alias=alias,
        status_code=200,
        is_partial=False,
    )
    tally.rows_in += len(traffic)
    per_user: Counter[str] = Counter()
    accepted, rows = 0, list[LabelledRow]()
    for request in traffic:
        answer = right_answer(request, settings.label_field)
        source, user = str(request.label_source), request.user_id or request.key_id
        if answer is None:
            tally.dropped["labelled, but the whole right answer is not known"] += 1
        elif per_user[user] >= settings.max_rows_per_user:
            tally.dropped["over dataset.max_rows_per_user"] += 1
        elif source == "accepted" and accepted >= settings.max_accepted_rows:
            tally.dropped["over dataset.max_accepted_rows"] += 1
        else:
            per_user[user] += 1
            accepted += source == "accepted"
            group = request.conversation_id or request.user_id or None
            completion = [said("assistant", answer)]
            row = Row(request.id, conversation(request), completion, group, request.created_at)
            rows.append(LabelledRow(row, source))
    return rows


def right_answer(request: Traffic, label_field: str | None) -> str | None:
    """Return the whole right answer, or None if people only said which label it has and the model's has another."""
    if request.label_source in ("correction", "accepted") or label_field is None:
        return request.label
    return request.answer if label_of(request.answer, label_field) == request.label else None


def conversation(request: Traffic) -> list[Message]:
    """Return the messages of a logged request; a completion prompt is one user message."""
    try:
        messages = json.loads(request.request)["messages"]
    except (json.JSONDecodeError, LookupError, TypeError):
        return [said("user", request.prompt)]
    turns = [
        said(ROLES[m["role"]], m["content"])
        for m in messages
        if m.get("role") in ROLES and isinstance(m.get("content"), str)
    ]
    return turns or [said("user", request.prompt)]
