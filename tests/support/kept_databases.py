"""The databases of released revisions: a small SQLite file and a PostgreSQL dump of each, kept in tests/revisions."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa

from driftwheel.store.tables import TABLES

FOLDER = Path(__file__).parents[1] / "revisions"
REVISIONS = sorted(int(path.name.rpartition("_")[2]) for path in FOLDER.glob("revision_*"))
Rows = dict[str, dict[str, dict[str, Any]]]
"""Table, id and column lead to a value."""


def restore(revision: int, url: str) -> None:
    """Make the empty database at a URL the kept one of a revision."""
    folder = FOLDER / f"revision_{revision}"
    if url.startswith("sqlite"):
        path = Path(str(sa.make_url(url).database))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((folder / "ledger.db").read_bytes())
        return
    with psycopg.connect(url) as connection:
        connection.execute((folder / "ledger.sql").read_bytes())


def kept_rows(revision: int) -> Rows:
    """Return every row of a kept database, as its SQLite file has them."""
    with sqlite3.connect(f"file:{FOLDER / f'revision_{revision}' / 'ledger.db'}?mode=ro", uri=True) as connection:
        connection.row_factory = sqlite3.Row
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {name: [dict(row) for row in connection.execute(f"SELECT * FROM {name}")] for name in names}
    connection.close()
    return _by_id(found)


def rows_in(connection: sa.Connection) -> Rows:
    """Return every row of every record's table, as the database holds them."""
    inspector = sa.inspect(connection)
    names = [table.name for table in TABLES.values() if inspector.has_table(table.name)]
    return _by_id({n: [dict(r) for r in connection.exec_driver_sql(f"SELECT * FROM {n}").mappings()] for n in names})


def _by_id(tables: dict[str, list[dict[str, Any]]]) -> Rows:
    return {
        name: {row["id"]: {column: _plain(name, column, value) for column, value in row.items()} for row in rows}
        for name, rows in tables.items()
        if name != "driftwheel_revision"
    }


def _plain(table: str, column: str, value: Any) -> Any:
    """Return JSON as values and truth as a number, which is how the two databases differ."""
    is_text = isinstance(value, str) and value[:1] in ("{", "[")
    return json.loads(value) if is_text and column not in ("request", "response") else value
