"""Carries what users added to a SQLite file, views, triggers and indexes, over an upgrade that rebuilds tables."""

import sqlalchemy as sa
import structlog

_MASTER = sa.text("SELECT name, type, sql FROM sqlite_master WHERE type IN ('index', 'trigger', 'view') AND sql <> ''")
Objects = dict[str, tuple[str, str]]
"""The name leads to the kind and to the statement that makes it."""
log = structlog.get_logger()


def objects_of(connection: sa.Connection) -> Objects:
    """Return the views, triggers and indexes of a SQLite file, our own indexes among them."""
    return {name: (kind, statement) for name, kind, statement in connection.execute(_MASTER)}


def carry_over(connection: sa.Connection, before: Objects) -> None:
    """Make again what a rebuilt table took with it, and warn of what no longer fits the new tables."""
    now = objects_of(connection)
    for name, (kind, statement) in before.items():
        is_ours = name.startswith("ix_")  # each revision says itself what becomes of those
        try:
            if name not in now and not is_ours:
                connection.exec_driver_sql(statement)
            elif kind == "view":
                quoted = name.replace('"', '""')
                connection.exec_driver_sql(f'SELECT * FROM "{quoted}" LIMIT 0')
        except sa.exc.DatabaseError as error:
            log.warning(
                "it does not fit the upgraded tables; make it anew", kind=kind, name=name, error=str(error.orig)
            )
