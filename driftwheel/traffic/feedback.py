"""Attaches thumbs, labels and corrections to logged requests."""

from typing import Literal

import sqlalchemy as sa

from driftwheel.answers import wrong_form
from driftwheel.asked import UnreadableRequestError, read_answer, read_asked
from driftwheel.errors import DataError, NotFoundError
from driftwheel.records import Traffic, utc_now
from driftwheel.settings.serving import TrafficSettings
from driftwheel.store.answer_form import answer_form
from driftwheel.store.ledger import Ledger
from driftwheel.store.row_values import check_rows
from driftwheel.store.tables import TABLES
from driftwheel.traffic.redaction import rules_of


class WrongFormError(DataError):
    """A correction is no answer of this task: it has another form than the answers that the model learned."""


def give_feedback(
    traffic: TrafficSettings,
    ledger: Ledger,
    project: str,
    request_id: str,
    *,
    thumb: Literal[1, -1] | None = None,
    label: str | None = None,
    correction: str | None = None,
    label_field: str | None = None,
) -> Traffic:
    """Attach feedback to a request that the project answered; the last label or correction counts, and the last thumb.

    A correction is the whole right answer, and goes before a label of the same call. A thumb up labels the answer with
    itself where no label is; a thumb down takes no label back. What people write keeps the rules that rows keep.
    Raises NotFoundError, DataError, RecordError for a text that cannot be kept, or WrongFormError for a correction in
    another form than the answers', whose label is in `label_field`.
    """
    if thumb is None and label is None and correction is None:
        raise DataError("feedback needs one of thumb (1 or -1), label or correction")
    found = ledger.find(Traffic, id=request_id, project=project)
    if not found:
        raise NotFoundError(f"no request {request_id!r} in project {project!r}")
    row, rules = found[0], rules_of(traffic)
    if rules is not None:
        label, correction = (None if text is None else rules.clean(text) for text in (label, correction))
    if correction is not None:
        _check_form(ledger, row, correction, label_field)
    changes: dict[str, object] = {"feedback_at": utc_now()}
    if thumb is not None:
        changes["thumb"] = thumb
    if correction is not None or label is not None:
        changes["label"] = correction if correction is not None else label
        changes["label_source"] = "correction" if correction is not None else "label"
    elif thumb == 1 and row.label is None:
        changes |= {"label": row.answer, "label_source": "accepted"}
    table = TABLES[Traffic]
    check_rows(table, [{"id": request_id, **changes}])
    with ledger.write() as connection:
        connection.execute(sa.update(table).where(table.c.id == request_id).values(**changes))
    return ledger.get(Traffic, request_id)


def _check_form(ledger: Ledger, row: Traffic, correction: str, label_field: str | None) -> None:
    """Raise WrongFormError unless a correction has the form of the answers that the request's version learned."""
    expected = wrong_form(correction, answer_form(ledger, row.version_id), label_field)
    if expected is None or _is_call(row, correction):
        return
    raise WrongFormError(f"the correction must be the whole right answer, and here that is {expected}")


def _is_call(row: Traffic, correction: str) -> bool:
    """Say whether a correction calls tools that the request has."""
    try:
        return "tool_calls" in read_answer(correction, read_asked(row.request, row.route).tools)
    except UnreadableRequestError:
        return False
