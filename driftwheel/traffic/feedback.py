"""Attaches thumbs, labels and corrections to logged requests."""

from typing import Literal

import sqlalchemy as sa

from driftwheel.errors import DataError, NotFoundError
from driftwheel.records import Traffic, utc_now
from driftwheel.settings.serving import TrafficSettings
from driftwheel.store.ledger import Ledger
from driftwheel.store.row_values import check_rows
from driftwheel.store.tables import TABLES
from driftwheel.traffic.redaction import rules_of


def give_feedback(
    traffic: TrafficSettings,
    ledger: Ledger,
    project: str,
    request_id: str,
    *,
    thumb: Literal[1, -1] | None = None,
    label: str | None = None,
    correction: str | None = None,
) -> Traffic:
    """Attach feedback to a request that the project answered; the last label or correction counts, and the last thumb.

    A correction is the whole right answer, and goes before a label of the same call. A thumb up labels the answer with
    itself where no label is; a thumb down takes no label back. What people write keeps the rules that rows keep.
    Raises NotFoundError or DataError, RecordError for a text that cannot be kept.
    """
    if thumb is None and label is None and correction is None:
        raise DataError("feedback needs one of thumb (1 or -1), label or correction")
    found = ledger.find(Traffic, id=request_id, project=project)
    if not found:
        raise NotFoundError(f"no request {request_id!r} in project {project!r}")
    row, rules = found[0], rules_of(traffic)
    if rules is not None:
        label, correction = (None if text is None else rules.clean(text) for text in (label, correction))
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
