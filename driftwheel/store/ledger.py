"""The ledger: reads and writes the records of the database; every change of status is conditional.

SQLite needs 3.51.3 or newer, because older builds can lose committed rows when several connections write and
checkpoint (the WAL-reset bug); the package pysqlite3 brings one. See docs/decisions.
"""

import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from enum import StrEnum
from functools import cache, lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from driftwheel.errors import ConflictError, NotFoundError
from driftwheel.identity import utc_now
from driftwheel.records.bookkeeping import Step, Switch
from driftwheel.store.any_of import any_of
from driftwheel.store.database import connect, named_errors, wait_for_turn
from driftwheel.store.driver_errors import told
from driftwheel.store.integrity import integrity_error
from driftwheel.store.migrations import bring_up_to_date
from driftwheel.store.row_values import can_be_kept, check_rows, with_told_errors
from driftwheel.store.tables import INSERTION_ORDER, TABLES, row_of

WHERE = {
    "version": "`driftwheel versions` lists what there is",
    "run": "`driftwheel runs` lists what there is",
    "decision": "`driftwheel decisions` lists what there is",
    "deployment": "`driftwheel deployments` lists what there is",
    "dataset": "`driftwheel status` names the newest",
    "req": "an answer's id stands in its header x-request-id, and on the dashboard's Traffic page",
}
"""Where the ids of a kind are found, for who names a record that is not there; others are named by nobody."""
CALLED = {"req": "request"}
ONLY_LOCK = 0x6472696675
"""Key of PostgreSQL's advisory lock under which a record is added that is to be the only one or gets a number."""
Record = TypeVar("Record")


class Ledger:
    """Reads and writes the records of one database; safe to share between threads."""

    def __init__(self, url: str, *, root: Path | None = None, sqlite_module: ModuleType | None = None) -> None:
        """Open the database at an SQLAlchemy URL; an older one is upgraded, an empty one gets its tables.

        Paths inside `root`, which is the folder of a SQLite file where none is given, are stored relative to it.
        SQLite is the DB-API module given, or a safe one.
        Raises ConfigError for an unusable URL or SQLite build, SchemaError for a database of a newer driftwheel or of
        another program, StorageError if the database refuses.
        """
        self.url = url
        with named_errors(url) as self.address, ExitStack() as on_failure:
            self.engine = connect(url, sqlite_module, root)
            on_failure.callback(self.engine.dispose)
            bring_up_to_date(self.engine, self.address)
            on_failure.pop_all()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Give a connection inside a read transaction; raises StorageError if the database refuses."""
        with told(f"the ledger at {self.address} refused a read"), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Give a connection inside a write transaction; a failure rolls back and raises StorageError."""
        engine = self.engine.execution_options(is_write=True)
        with told(f"the ledger at {self.address} refused a write"), engine.begin() as connection:
            yield connection

    def add(self, *records: Any) -> None:
        """Insert records, all or none.

        Raises ConflictError for an id that is taken, RecordError for a missing value, one that cannot be kept, or a
        reference to nothing.
        """
        with self.write() as connection:
            self.add_with(connection, records)

    def add_with(self, connection: sa.Connection, records: Sequence[Any]) -> None:
        """Insert records inside the caller's transaction, those first that others may name."""
        for record_type in sorted({type(r) for r in records}, key=lambda kind: INSERTION_ORDER[TABLES[kind]]):
            table = TABLES[record_type]
            rows = [with_told_errors(row_of(r)) for r in records if type(r) is record_type]
            check_rows(table, rows)
            with _told_apart(connection, table, rows):
                connection.execute(table.insert(), rows)

    def add_only_with(self, connection: sa.Connection, record: Any, **equals: Any) -> str | None:
        """Insert a record inside the caller's transaction, unless one of its type has the given values.

        Return the id of the one that has. Of several processes that try at once one succeeds.
        """
        table = TABLES[type(record)]
        wait_for_turn(connection, ONLY_LOCK)
        query = sa.select(table.c.id).where(*_conditions(table, equals)).limit(1)
        found: str | None = connection.execute(query).scalar()
        if found is None:
            self.add_with(connection, [record])
        return found

    def add_numbered(
        self,
        record: Record,
        beside: Callable[[sa.Connection, Record], None] = lambda connection, added: None,
        /,
        **equals: Any,
    ) -> Record:
        """Insert a record under its project's next number, unless one of its type has the given values.

        `beside` is called with the record inside the transaction that adds it.
        Return the record that is there now. Of several processes that add at once each gets a number of its own.
        """
        table = TABLES[type(record)]
        with self.write() as connection:
            wait_for_turn(connection, ONLY_LOCK)
            found = connection.execute(sa.select(table.c.id).where(*_conditions(table, equals)).limit(1)).scalar()
            if found is None:
                project = typing.cast(Any, record).project
                highest = sa.select(sa.func.max(table.c.number)).where(table.c.project == project)
                number = (connection.execute(highest).scalar() or 0) + 1
                record = typing.cast(Record, replace(typing.cast(Any, record), number=number))
                self.add_with(connection, [record])
                beside(connection, record)
                return record
        return self.get(type(record), found)

    def get(self, record_type: type[Record], id: str, **equals: Any) -> Record:
        """Return one record, which must have the given values too; raises NotFoundError."""
        found = self.find(record_type, id=id, limit=1, **equals)
        if not found:
            kind = TABLES[record_type].name
            where = f"; {WHERE[kind]}" if kind in WHERE else ""
            raise NotFoundError(f"no {CALLED.get(kind, kind)} {id!r}{where}")
        return found[0]

    def newest(self, record_type: type[Record], project: str) -> Record:
        """Return a project's newest record; raises NotFoundError if there is none."""
        found = self.find(record_type, project=project, limit=1)
        if not found:
            raise NotFoundError(f"project {project!r} has no {TABLES[record_type].name} yet; make one first")
        return found[0]

    def find(
        self,
        record_type: type[Record],
        *conditions: sa.ColumnElement[bool],
        limit: int | None = None,
        offset: int = 0,
        newest_first: bool = True,
        without: Sequence[str] = (),
        **equals: Any,
    ) -> list[Record]:
        """Return the records whose fields equal the given values, newest first.

        A list as value means any of its members. Further conditions are built from `TABLES`. Fields named in
        `without` are not read and keep their defaults.
        """
        table = TABLES[record_type]
        most = {} if limit is None else {MOST: limit}
        if all(_is_plain(value) for value in equals.values()):
            query = _look_up(table, tuple(equals), tuple(without), newest_first, limit is not None)
            values = {**equals, **most}
        else:
            query = _look_up(table, (), tuple(without), newest_first, limit is not None)
            query, values = query.where(*_conditions(table, equals)), most
        if conditions or offset:
            query = query.where(*conditions).offset(offset)
        with self.read() as connection:
            result = connection.execute(query, values)
            names, rows = list(result.keys()), result.all()
        enums = [(k, kind) for k, kind in _enums_of(typing.cast(Any, record_type)).items() if k in names]
        found = [dict(zip(names, row, strict=True)) for row in rows]
        for row in found if enums else ():
            row.update((name, kind(row[name])) for name, kind in enums)
        return [record_type(**row) for row in found]

    def count(self, record_type: type[Any], *conditions: sa.ColumnElement[bool], **equals: Any) -> int:
        """Return how many records match."""
        table = TABLES[record_type]
        query = sa.select(sa.func.count()).select_from(table).where(*conditions, *_conditions(table, equals))
        with self.read() as connection:
            return int(connection.execute(query).scalar_one())

    def change(self, record: Record, **changes: Any) -> Record:
        """Change fields of a record only if its status, stage and fence are as the caller read them.

        Raises ConflictError if another writer changed it first.
        """
        with self.write() as connection:
            return self.change_with(connection, record, **changes)

    def change_with(self, connection: sa.Connection, record: Record, **changes: Any) -> Record:
        """Change fields inside the caller's transaction, as `change` does."""
        table, identity = TABLES[type(record)], typing.cast(Any, record).id
        if "updated_at" in table.c:
            changes.setdefault("updated_at", utc_now())
        guard = [table.c[n] == getattr(record, n) for n in ("status", "fence", "stage") if n in table.c]
        changes = dict(with_told_errors(changes))
        check_rows(table, [{"id": identity, **changes}])
        with _told_apart(connection, table, [{"id": identity, **changes}]):
            done = connection.execute(sa.update(table).where(table.c.id == identity, *guard).values(**changes))
        if done.rowcount != 1:
            raise ConflictError(f"{identity} has changed since it was read; read it again and decide anew")
        return typing.cast(Record, replace(typing.cast(Any, record), **changes))

    def switch(self, project: str, name: str, default: str = "") -> str:
        """Return a switch's value."""
        found = self.find(Switch, id=f"{project}/{name}")
        return found[0].value if found else default

    def set_switch(self, project: str, name: str, value: str) -> None:
        """Set a switch."""
        with self.write() as connection:
            self.set_switch_with(connection, project, name, value)

    def set_switch_with(self, connection: sa.Connection, project: str, name: str, value: str) -> None:
        """Set a switch inside the caller's transaction; of two who set it first at once the later one has the say."""
        _put_switch(connection, Switch(id=f"{project}/{name}", project=project, value=value), value)

    def count_up_with(self, connection: sa.Connection, project: str, name: str, amount: int) -> None:
        """Add to a switch that holds a number, inside the caller's transaction."""
        sum_of_both = sa.cast(sa.cast(TABLES[Switch].c.value, sa.BigInteger) + amount, sa.Text)
        _put_switch(connection, Switch(id=f"{project}/{name}", project=project, value=str(amount)), sum_of_both)

    def put_step(self, step: Step) -> None:
        """Write or overwrite a step of a retrain job."""
        table = TABLES[Step]
        with self.write() as connection:
            connection.execute(sa.delete(table).where(table.c.id == step.id))
            self.add_with(connection, [step])

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


@contextmanager
def _told_apart(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> Iterator[None]:
    try:
        yield
    except sa.exc.IntegrityError as error:
        raise integrity_error(error.orig or error, table, rows, connection) from error


def _put_switch(connection: sa.Connection, switch: Switch, value: Any) -> None:
    """Insert a switch, or give the one that is there another value, in one statement: two may do so at once."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    changes = {"value": value, "updated_at": switch.updated_at}
    put = insert(TABLES[Switch]).values(row_of(switch))
    connection.execute(put.on_conflict_do_update(index_elements=["id"], set_=changes))


@cache  # annotations are texts, and to evaluate those of a record takes as long as its query
def _enums_of(record_type: type[Any]) -> dict[str, type[StrEnum]]:
    """Return the fields of a record that hold one of several words."""
    hints = typing.get_type_hints(record_type).items()
    return {name: hint for name, hint in hints if isinstance(hint, type) and issubclass(hint, StrEnum)}


MOST = "most_rows"
"""The parameter of a query that says how many rows are wanted; no column is called so."""


@lru_cache(maxsize=256)  # to put a query together and to find its compiled form takes as long as it takes to run
def _look_up(
    table: sa.Table, names: tuple[str, ...], without: tuple[str, ...], is_newest_first: bool, is_limited: bool
) -> sa.Select[Any]:
    """Return the query for the records with given values, which are parameters named as their columns."""
    query = sa.select(*(c for c in table.columns if c.name not in without))
    query = query.where(*(table.c[name] == sa.bindparam(name, type_=table.c[name].type) for name in names))
    order = (table.c.created_at, table.c.id)
    query = query.order_by(*(c.desc() for c in order) if is_newest_first else order)
    return query.limit(sa.bindparam(MOST, type_=sa.Integer)) if is_limited else query


def _is_plain(value: Any) -> bool:
    """Say whether a value can be the parameter of a comparison that is the same whatever it is."""
    return not isinstance(value, list | tuple | bool) and value is not None and can_be_kept(value)


def _conditions(table: sa.Table, equals: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
    """Return what says that columns have the given values, or one of them where a list is given."""
    return [_condition(table.c[name], value) for name, value in equals.items()]


def _condition(column: sa.Column[Any], value: Any) -> sa.ColumnElement[bool]:
    if isinstance(value, list | tuple):
        return any_of(column, [member for member in value if can_be_kept(member)])
    return column == value if can_be_kept(value) else sa.false()  # PostgreSQL refuses even to look for a NUL
