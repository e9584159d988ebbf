"""Revision 7: feedback has authors: each thing that was said about an answer is a row of its own.

What the requests' summaries say becomes rows of the author `legacy`, whom nobody trusts: who said it was not written
down. An answer that a thumb up accepted and a later thumb down took back was learned from all the same; it is no label.
"""

import sqlalchemy as sa
from alembic import op

revision = "7"
down_revision = "6"
LEGACY, TRUST = "legacy", "none"
_NAMES = ("id", "project", "label", "label_source", "answer")
REQUEST = sa.table(
    "req",
    *(sa.column(name, sa.Text()) for name in _NAMES),
    *(sa.column(name, sa.BigInteger()) for name in ("created_at", "feedback_at", "thumb")),
)
_TEXTS = ("id", "project", "request_id", "author", "trust", "kind", "value")
FEEDBACK = sa.table(
    "feedback", *(sa.column(name, sa.Text()) for name in _TEXTS), sa.column("created_at", sa.BigInteger())
)


def upgrade() -> None:
    """Make the table, and a row of each label, correction and thumb that there is."""
    op.create_table(
        "feedback",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("trust", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("withdrawn_at", sa.BigInteger(), nullable=True),
    )
    columns = REQUEST.c
    is_accepted = sa.func.coalesce(columns.label_source, "") == "accepted"
    taken_back = sa.update(REQUEST).where(is_accepted, columns.thumb == -1)
    op.execute(taken_back.values(label=None, label_source=None))
    is_said = sa.and_(columns.label.is_not(None), sa.not_(is_accepted))
    kind = sa.case((columns.label_source == "correction", "correction"), else_="label")
    _adopt(kind, columns.label, is_said)
    is_thumb = sa.or_(columns.thumb.is_not(None), sa.and_(is_accepted, columns.label.is_not(None)))
    thumb = sa.case((sa.func.coalesce(columns.thumb, 1) == 1, "1"), else_="-1")
    _adopt(sa.literal("thumb"), thumb, is_thumb)
    op.create_index("ix_feedback_project_created_at", "feedback", ["project", "created_at"])
    op.create_index("ix_feedback_request_id", "feedback", ["request_id"])
    op.create_index("ix_feedback_author", "feedback", ["project", "author", "created_at"])


def _adopt(kind: sa.ColumnElement[str], value: sa.ColumnElement[str], is_it: sa.ColumnElement[bool]) -> None:
    columns = REQUEST.c
    rows = sa.select(
        sa.literal("feedback_").concat(columns.id).concat("_").concat(kind),
        columns.project,
        sa.func.coalesce(columns.feedback_at, columns.created_at),
        columns.id,
        sa.literal(LEGACY),
        sa.literal(TRUST),
        kind,
        value,
    ).where(is_it)
    names = ["id", "project", "created_at", "request_id", "author", "trust", "kind", "value"]
    op.execute(sa.insert(FEEDBACK).from_select(names, rows))
