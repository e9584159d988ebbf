"""Revision 3: paths inside the storage folder are stored relative to it, so that the folder may move.

A relative path begins with `./`. Where the storage folder is not known, and for paths elsewhere, rows stay as they are.
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "3"
down_revision = "2"
PATHS = {
    "dataset": ["path"],
    "run": ["path", "base_model"],
    "version": ["path", "base_model"],
    "signal": ["report_path"],
}


def upgrade() -> None:
    """Cut the storage folder off every path that begins with it."""
    root: Path | None = op.get_context().opts["storage_root"]
    if root is None:
        return
    start = f"{root}/"
    for name, columns in PATHS.items():
        for column_name in columns:
            table = sa.table(name, sa.column(column_name, sa.Text()))
            column = table.c[column_name]
            is_inside = sa.func.substr(column, 1, len(start)) == start
            shortened = sa.literal("./") + sa.func.substr(column, len(start) + 1)
            op.execute(sa.update(table).where(is_inside).values({column_name: shortened}))
