"""Has the database itself refuse what would change or delete rows of a table that is only added to.

The revisions that make such a table hold the same statements; a test compares what both refuse.
"""

import sqlalchemy as sa

SAYS = "{table}s are added, and never changed or deleted"
_SQLITE = (
    "CREATE TRIGGER {table}_refuses_update BEFORE UPDATE ON {table} BEGIN SELECT RAISE(ABORT, '{says}'); END",
    "CREATE TRIGGER {table}_refuses_delete BEFORE DELETE ON {table} BEGIN SELECT RAISE(ABORT, '{says}'); END",
)
_POSTGRESQL = (
    "CREATE FUNCTION {table}_refuses() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION '{says}' USING ERRCODE = 'restrict_violation'; END $$",
    # For each statement and not each row: TRUNCATE has no rows, and a DELETE of none is one too many.
    "CREATE TRIGGER {table}_refuses_change BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
    "FOR EACH STATEMENT EXECUTE FUNCTION {table}_refuses()",
)


def guard(table: sa.Table) -> None:
    """Let a table's creation make what refuses changes, too."""
    for dialect, statements in (("sqlite", _SQLITE), ("postgresql", _POSTGRESQL)):
        for statement in statements:
            text = statement.format(table=table.name, says=SAYS.format(table=table.name))
            made: sa.DDL = sa.DDL(text)  # type: ignore[no-untyped-call]
            sa.event.listen(table, "after_create", made.execute_if(dialect=dialect))
