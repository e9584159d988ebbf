"""Revision 4: drift windows are rows, and each request names its window, so that checks read no history.

A check's engine signal listed the requests that it had looked at, and the monitor read all of them to find the next.
The checks become windows, their lists become marks on the requests, and no request is checked twice.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence

import sqlalchemy as sa
from alembic import op

revision = "4"
down_revision = "3"

SIGNAL = sa.table(
    "signal",
    *(
        sa.column(name)
        for name in (
            *("id", "project", "created_at", "version_id", "kind", "feature", "verdict", "check_id", "current_rows"),
            *("window_started_at", "window_ended_at"),
        )
    ),
    sa.column("details", sa.JSON()),
)
REQUEST = sa.table("req", sa.column("id"), sa.column("check_id"))
WINDOW = sa.table(
    "drift_window",
    *(
        sa.column(name)
        for name in ("id", "project", "created_at", "version_id", "number", "rows", "started_at", "ended_at")
    ),
    sa.column("over_in_a_row", sa.JSON()),
)
MOST_IDS = 10_000
"""In one statement: PostgreSQL takes 65,535 parameters, and SQLite as many as it was built for."""
Row = sa.RowMapping


def upgrade() -> None:
    """Make the windows' table, mark the requests that were checked, and index what a look asks for."""
    op.create_table(
        "drift_window",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("over_in_a_row", sa.JSON(), nullable=False),
    )
    op.add_column("req", sa.Column("check_id", sa.Text(), nullable=True))
    adopt_checks(op.get_bind())
    make_indexes()


def make_indexes() -> None:
    """Make them after the rows are marked, which is faster than beside it."""
    op.create_index("ix_drift_window_project_created_at", "drift_window", ["project", "created_at"])
    op.create_index("ix_drift_window_version_id_number", "drift_window", ["version_id", "number"], unique=True)
    is_unread, is_labelled = sa.text("check_id IS NULL"), sa.text("label IS NOT NULL")
    of_version = ["alias", "version_id", "created_at"]
    op.create_index("ix_req_unread", "req", of_version, sqlite_where=is_unread, postgresql_where=is_unread)
    op.create_index("ix_req_alias_version_id_created_at", "req", of_version)
    op.create_index(
        "ix_req_labelled",
        "req",
        ["project", "alias", "feedback_at", "created_at"],
        sqlite_where=is_labelled,
        postgresql_where=is_labelled,
    )
    op.create_index("ix_signal_check_id", "signal", ["project", "check_id", "created_at"])
    op.create_index("ix_signal_version_id_kind", "signal", ["version_id", "feature", "kind", "created_at"])
    op.create_index(
        "ix_decision_project_verdict", "decision", ["project", "verdict", "created_at", "status", "trigger"]
    )


def adopt_checks(connection: sa.Connection) -> None:
    """Write a window for each check that was made, and mark its requests."""
    numbers: Counter[str] = Counter()
    over: dict[str, Counter[str]] = {}
    for signals in checks(connection):
        engine = next((s for s in signals if s["kind"] == "engine"), None)
        count_over(over.setdefault(signals[0]["version_id"], Counter()), signals)
        if engine is None:
            continue
        numbers[engine["version_id"]] += 1
        window = {
            "id": engine["check_id"],
            "project": engine["project"],
            "created_at": engine["created_at"],
            "version_id": engine["version_id"],
            "number": numbers[engine["version_id"]],
            "rows": engine["current_rows"],
            "started_at": engine["window_started_at"],
            "ended_at": engine["window_ended_at"],
            "over_in_a_row": dict(over[engine["version_id"]]),
        }
        connection.execute(WINDOW.insert().values(window))
        mark_requests(connection, engine)


def checks(connection: sa.Connection) -> Iterator[list[Row]]:
    """Give the decisive signals of each check, the oldest check first."""
    c = SIGNAL.c
    small = [column for column in SIGNAL.columns if column is not c.details]  # the lists are read one at a time
    began = sa.select(c.check_id, sa.func.min(c.created_at).label("at")).group_by(c.check_id).subquery()
    query = sa.select(*small).join(began, began.c.check_id == c.check_id).where(c.feature == "all")
    rows = connection.execute(query.order_by(began.c.at, c.check_id, c.created_at, c.id)).mappings().all()
    for _, signals in itertools.groupby(rows, key=lambda row: row["check_id"]):
        yield list(signals)


def count_over(over: "Counter[str]", signals: Sequence[Row]) -> None:
    """Count for each kind the windows in a row over the threshold; those that were not judged are passed over."""
    for row in signals:
        if row["verdict"] == "steady":
            over[row["kind"]] = 0
        elif row["verdict"] != "insufficient":
            over[row["kind"]] += 1
        else:
            over[row["kind"]] += 0


def mark_requests(connection: sa.Connection, engine: Row) -> None:
    """Move the list of a check's requests from its signal to the requests."""
    is_it = SIGNAL.c.id == engine["id"]
    details = connection.execute(sa.select(SIGNAL.c.details).where(is_it)).scalar_one() or {}
    ids = details.pop("request_ids", None)
    if ids is None:
        return
    for start in range(0, len(ids), MOST_IDS):
        checked = sa.update(REQUEST).where(REQUEST.c.id.in_(ids[start : start + MOST_IDS]))
        connection.execute(checked.values(check_id=engine["check_id"]))
    connection.execute(sa.update(SIGNAL).where(is_it).values(details=details))
