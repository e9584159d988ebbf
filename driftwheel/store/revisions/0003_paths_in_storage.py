"""Revision 3: paths inside the storage folder are stored relative to it, so that the folder may move.

What is relative begins with `storage:`. Paths elsewhere stay as they are. So does every path where the storage folder
is not known, and where several projects share the database: each has a folder of its own, and only one of them is known
here.
"""

from collections.abc import Sequence
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
PATHS_IN_JSON = [
    ("version", "scorecard", ["predictions_path"]),
    ("step", "output", ["merged", "artifact", "evaluation"]),
]


def upgrade() -> None:
    """Cut the storage folder off every path that begins with it."""
    root: Path | None = op.get_context().opts["storage_root"]
    if root is None or len(projects()) > 1:
        return
    start = f"{root}/"
    for name, columns in PATHS.items():
        for column_name in columns:
            table = sa.table(name, sa.column(column_name, sa.Text()))
            column = table.c[column_name]
            is_inside = sa.func.substr(column, 1, len(start)) == start
            shortened = sa.literal("storage:") + sa.func.substr(column, len(start) + 1)
            op.execute(sa.update(table).where(is_inside).values({column_name: shortened}))
    for name, column_name, keys in PATHS_IN_JSON:
        shorten_in_json(sa.table(name, sa.column("id"), sa.column(column_name, sa.JSON())), column_name, keys, start)


def projects() -> set[str]:
    """Return the projects whose rows hold paths."""
    tables = (sa.table(name, sa.column("project", sa.Text())) for name in PATHS)
    return {found for table in tables for found in op.get_bind().scalars(sa.select(table.c.project).distinct())}


def shorten_in_json(table: sa.TableClause, column_name: str, keys: Sequence[str], start: str) -> None:
    """Do the same to paths that are values of a JSON object; there are few such rows, so that each is read."""
    connection = op.get_bind()
    for id, found in connection.execute(sa.select(table.c.id, table.c[column_name])).all():
        inside = [key for key in keys if isinstance(found, dict) and str(found.get(key)).startswith(start)]
        if inside:
            changed = found | {key: f"storage:{found[key].removeprefix(start)}" for key in inside}
            connection.execute(sa.update(table).where(table.c.id == id).values({column_name: changed}))
