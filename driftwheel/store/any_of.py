"""A condition that a column has one of many values, as one parameter of a statement, however many they are.

A parameter for each value ends at 65,535 of them on PostgreSQL, and on SQLite at what it was built with.
"""

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

FEW = 1000
"""Up to here a parameter for each value, which the planners of both databases know best."""


def any_of(column: sa.Column[Any], values: Sequence[Any]) -> sa.ColumnElement[bool]:
    """Return the condition; texts and integers may be many."""
    return column.in_(values) if len(values) <= FEW else AnyOf(column, values)


class AnyOf(sa.ColumnElement[bool]):
    """The same for many values: an array on PostgreSQL, a list in JSON on SQLite."""

    inherit_cache = False
    type = sa.Boolean()

    def __init__(self, column: sa.Column[Any], values: Sequence[Any]) -> None:
        listed = sa.func.json_each(json.dumps(list(values))).table_valued("value")
        self.on_sqlite = column.in_(sa.select(listed.c.value))
        self.on_postgresql = column == sa.any_(sa.literal(list(values), ARRAY(column.type)))


@compiles(AnyOf, "sqlite")
def _compile_on_sqlite(element: AnyOf, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.on_sqlite, **options)


@compiles(AnyOf, "postgresql")
def _compile_on_postgresql(element: AnyOf, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.on_postgresql, **options)
