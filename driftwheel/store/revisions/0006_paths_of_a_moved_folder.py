"""Revision 6: paths of a storage folder that was moved before its first upgrade are found again, or told.

Revision 3 made paths relative that began with the folder of that time. Of a folder that was moved before, they began
with another one, and stayed: absolute, and leading to where nothing is. What lies in the storage folder under the same
names, the last two of them at least, is what is meant. What is not there either is counted in the log and stays.

Where several projects share the database only the count is made: each has a folder of its own, and one is known here.
"""

import os
from pathlib import Path

import sqlalchemy as sa
import structlog
from alembic import op

revision = "6"
down_revision = "5"
INSIDE = "storage:"
MADE = [("dataset", "path"), ("run", "path"), ("version", "path"), ("signal", "report_path")]
"""Paths of what driftwheel made itself: a copy of it in the storage folder is as good as the one elsewhere."""
GIVEN = [("run", "base_model"), ("version", "base_model")]
"""Those that a person may have named: they are changed only where they lead nowhere."""
MADE_IN_JSON = [
    ("version", "scorecard", ["predictions_path"]),
    ("step", "output", ["merged", "artifact", "evaluation"]),
]
FEWEST_NAMES = 2
"""`datasets/dataset_20260102T030405678_0a1b2c3d` is enough to know something by, `model` is not."""
log = structlog.get_logger()


def upgrade() -> None:
    """Make the paths relative that lie in the storage folder after all, and count those that lead nowhere."""
    root: Path | None = op.get_context().opts["storage_root"]
    if root is None:
        return
    mends = len(_projects()) <= 1
    for (name, column_name), is_made in [*((p, True) for p in MADE), *((p, False) for p in GIVEN)]:
        table = sa.table(name, sa.column(column_name, sa.Text()))
        column = table.c[column_name]
        lost = 0
        for path in op.get_bind().scalars(sa.select(column).where(column.is_not(None)).distinct()).all():
            found = _found(path, root, is_made=is_made) if mends else None
            if found is not None:
                op.execute(sa.update(table).where(column == path).values({column_name: found}))
            elif _leads_nowhere(path):
                lost += op.get_bind().scalar(_count(table).where(column == path)) or 0
        _tell(name, column_name, lost, root)
    for name, column_name, keys in MADE_IN_JSON:
        table = sa.table(name, sa.column("id"), sa.column(column_name, sa.JSON()))
        _mend_json(table, column_name, keys, root if mends else None, root)


def _projects() -> set[str]:
    names = sorted({name for name, _ in MADE})
    tables = [sa.table(name, sa.column("project", sa.Text())) for name in names]
    return {found for table in tables for found in op.get_bind().scalars(sa.select(table.c.project).distinct())}


def _mend_json(table: sa.TableClause, column_name: str, keys: list[str], mends_in: Path | None, root: Path) -> None:
    """Do the same to paths that are values of a JSON object; there are few such rows, so that each is read."""
    lost = 0
    for id, value in op.get_bind().execute(sa.select(table.c.id, table.c[column_name])).all():
        changes: dict[str, str] = {}
        for key in keys if isinstance(value, dict) else []:
            path = value.get(key)
            found = _found(path, mends_in, is_made=True) if mends_in and isinstance(path, str) else None
            if found is not None:
                changes[key] = found
            else:
                lost += isinstance(path, str) and _leads_nowhere(path)
        if changes:
            op.execute(sa.update(table).where(table.c.id == id).values({column_name: value | changes}))
    _tell(table.name, column_name, lost, root)


def _found(path: str, root: Path, *, is_made: bool) -> str | None:
    """Return a path as it is kept where what it names lies in the storage folder, else None."""
    names = Path(path).parts
    if not Path(path).is_absolute() or (not is_made and not _leads_nowhere(path)):
        return None
    for first in range(1, len(names) - FEWEST_NAMES + 1):
        inside = Path(*names[first:])
        if os.path.exists(root / inside):
            return f"{INSIDE}{inside.as_posix()}"
    return None


def _leads_nowhere(path: str) -> bool:
    # Of os.path, which takes a folder that may not be entered for nothing, where Path raises.
    return Path(path).is_absolute() and not os.path.exists(path)


def _count(table: sa.TableClause) -> sa.Select[int]:
    return sa.select(sa.func.count()).select_from(table)


def _tell(table: str, column: str, rows: int, root: Path) -> None:
    if rows:
        log.warning(
            "paths lead to nothing on this machine; put the files back where they were, or into the storage folder",
            table=table,
            column=column,
            rows=rows,
            storage=str(root),
        )
