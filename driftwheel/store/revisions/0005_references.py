"""Revision 5: foreign keys from a Deployment to its version and from a Step to its decision.

Old rows that name nothing stay: they are counted in the log, and only what is written from now on is held to it.
"""

import sqlalchemy as sa
import structlog
from alembic import op

revision = "5"
down_revision = "4"
REFERENCES = [("deployment", "version_id", "version"), ("step", "decision_id", "decision")]
log = structlog.get_logger()


def upgrade() -> None:
    """Declare the references."""
    for table, column, target in REFERENCES:
        lost = _lost_rows(table, column, target)
        if lost:
            log.warning("rows name records that are not there; they stay", table=table, column=column, rows=lost)
        name = f"fk_{table}_{column}"
        if op.get_bind().dialect.name == "postgresql":
            op.create_foreign_key(name, table, target, [column], ["id"], postgresql_not_valid=lost > 0)
        else:
            with op.batch_alter_table(table) as batch:
                batch.create_foreign_key(name, target, [column], ["id"])


def _lost_rows(table: str, column: str, target: str) -> int:
    query = sa.text(f"SELECT count(*) FROM {table} WHERE {column} NOT IN (SELECT id FROM {target})")
    return int(op.get_bind().execute(query).scalar_one())
