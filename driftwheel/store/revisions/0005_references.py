"""Revision 5: what a row names must be in the database: the Dataset of a run, the version of an alias, and so on.

Old rows that name nothing stay: they are counted in the log, and only what is written from now on is held to it.
"""

import sqlalchemy as sa
import structlog
from alembic import op

revision = "5"
down_revision = "4"
REFERENCES = {
    "run": {"dataset_id": "dataset"},
    "version": {"run_id": "run", "dataset_id": "dataset"},
    "deployment": {"version_id": "version"},
    "signal": {"version_id": "version"},
    "decision": {"dataset_id": "dataset", "run_id": "run", "version_id": "version"},
    "drift_window": {"version_id": "version"},
    "alias": {"version_id": "version"},
    "step": {"decision_id": "decision"},
    "judgement": {"first_version_id": "version", "second_version_id": "version", "dataset_id": "dataset"},
}
log = structlog.get_logger()


def upgrade() -> None:
    """Declare the references of each table, which SQLite copies once for all of them."""
    for table, references in REFERENCES.items():
        lost = {column: _lost_rows(table, column, target) for column, target in references.items()}
        for column, count in lost.items():
            if count:
                log.warning("rows name records that are not there; they stay", table=table, column=column, rows=count)
        if op.get_bind().dialect.name == "postgresql":
            for column, target in references.items():
                name, is_lacking = f"fk_{table}_{column}", lost[column] > 0
                op.create_foreign_key(name, table, target, [column], ["id"], postgresql_not_valid=is_lacking)
        else:
            with op.batch_alter_table(table) as batch:
                for column, target in references.items():
                    batch.create_foreign_key(f"fk_{table}_{column}", target, [column], ["id"])


def _lost_rows(table: str, column: str, target: str) -> int:
    query = sa.text(f"SELECT count(*) FROM {table} WHERE {column} NOT IN (SELECT id FROM {target})")
    return int(op.get_bind().execute(query).scalar_one())
