"""Derives the database tables from the records: one column for each field, typed by its annotation."""

import types
import typing
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
import sqlalchemy as sa

from driftwheel.records.bookkeeping import Window
from driftwheel.records.by_whom import Event, Feedback
from driftwheel.records.nouns import RECORDS, DriftSignal, RetrainDecision, Traffic
from driftwheel.records.storage_path import change_paths, is_path, lengthened, shortened
from driftwheel.store.append_only import guard
from driftwheel.store.marked_floats import with_marked_floats, with_unmarked_floats

STORAGE_ROOTS: WeakKeyDictionary[sa.Dialect, Path] = WeakKeyDictionary()
"""The storage folder of the engine that a dialect belongs to: column types are told nothing else of where they are."""


class UtcTime(sa.types.TypeDecorator[datetime]):
    """An aware UTC time, stored as microseconds since 1970 so that both databases sort it alike."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> int | None:
        return None if value is None else round(value.timestamp() * 1_000_000)

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else datetime.fromtimestamp(value / 1_000_000, UTC)


class InStorage(sa.types.TypeDecorator[str]):
    """A path, in the row relative to the storage folder where it lies inside."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        root = STORAGE_ROOTS.get(dialect)
        return value if value is None or root is None else shortened(value, root)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> str | None:
        root = STORAGE_ROOTS.get(dialect)
        return value if value is None or root is None else lengthened(value, root)


class Nested(sa.types.TypeDecorator[Any]):
    """A frozen dataclass, or a list or dict of such, stored as JSON; keys that it does not know are left out.

    Paths that are fields of the dataclass itself are kept as `InStorage` keeps them, and a number that is none, such as
    the loss of a run that diverged, as an object: JSON has no word for it, and PostgreSQL takes none.
    """

    impl = sa.JSON
    cache_ok = True

    def __init__(self, annotation: Any) -> None:
        super().__init__()
        self.annotation = annotation

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:
        kept, root = with_marked_floats(msgspec.to_builtins(value)), STORAGE_ROOTS.get(dialect)
        return change_paths(kept, self.annotation, shortened, root) if root is not None else kept

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Any:
        root = STORAGE_ROOTS.get(dialect)
        if root is not None:
            value = change_paths(value, self.annotation, lengthened, root)
        if value is None:
            return None
        try:
            return msgspec.convert(value, self.annotation)
        except msgspec.ValidationError:  # few values hold a mark, and to look for it in each costs more
            return msgspec.convert(with_unmarked_floats(value), self.annotation)


def _holds_dataclass(annotation: Any) -> bool:
    return is_dataclass(annotation) or any(_holds_dataclass(a) for a in typing.get_args(annotation))


def _options(annotation: Any) -> tuple[Any, ...]:
    """Return what a value may be but None; of `X | None` that is X."""
    if typing.get_origin(annotation) not in (types.UnionType, typing.Union):
        return (annotation,)
    return tuple(option for option in typing.get_args(annotation) if option is not type(None))


def _column_type(annotation: Any) -> Any:
    if is_path(annotation):
        return InStorage()
    kind = _options(annotation)[0]
    kind = typing.get_origin(kind) or kind
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return sa.String(32)
    if _holds_dataclass(annotation):
        return Nested(annotation)
    simple = {str: sa.Text(), int: sa.BigInteger(), float: sa.Float(), bool: sa.Boolean()}
    return simple.get(kind) or (UtcTime() if kind is datetime else sa.JSON())


REFERENCES = {
    ("run", "dataset_id"): "dataset",
    ("version", "run_id"): "run",
    ("version", "dataset_id"): "dataset",
    ("deployment", "version_id"): "version",
    ("signal", "version_id"): "version",
    ("decision", "dataset_id"): "dataset",
    ("decision", "run_id"): "run",
    ("decision", "version_id"): "version",
    ("drift_window", "version_id"): "version",
    ("alias", "version_id"): "version",
    ("step", "decision_id"): "decision",
    ("judgement", "first_version_id"): "version",
    ("judgement", "second_version_id"): "version",
    ("judgement", "dataset_id"): "dataset",
}
"""Columns that must hold the id of a row in another table, or nothing where they may.

Not those of Traffic and its Feedback, whose rows are never refused for that; for the others see docs/decisions."""


def _reference(table: str, column: str) -> list[sa.ForeignKey]:
    target = REFERENCES.get((table, column))
    return [] if target is None else [sa.ForeignKey(f"{target}.id", name=f"fk_{table}_{column}")]


metadata = sa.MetaData()
TABLES: dict[type, sa.Table] = {}
for _record in RECORDS:
    _hints = typing.get_type_hints(_record, include_extras=True)
    TABLES[_record] = sa.Table(
        _record.prefix,
        metadata,
        *(
            sa.Column(
                f.name,
                _column_type(_hints[f.name]),
                *_reference(_record.prefix, f.name),
                primary_key=f.name == "id",
                nullable=type(None) in typing.get_args(_hints[f.name]),
            )
            for f in fields(_record)
        ),
        sa.Index(f"ix_{_record.prefix}_project_created_at", "project", "created_at"),
    )

_traffic, _signal, _decision, _window = (TABLES[r].c for r in (Traffic, DriftSignal, RetrainDecision, Window))
_is_unread, _is_labelled = _traffic.check_id.is_(None), _traffic.label.is_not(None)
# A look of the monitor and a scrape of its metrics cost the same however long the history is: each of these answers one
# of their questions. Only what waits for its window is in `unread`, and it is known by the mark, not by a time or a
# number: rows are written in another order than they were read in, and clocks are set back.
sa.Index(
    "ix_req_unread",
    *(_traffic.alias, _traffic.version_id, _traffic.created_at),
    sqlite_where=_is_unread,
    postgresql_where=_is_unread,
)
sa.Index("ix_req_alias_version_id_created_at", _traffic.alias, _traffic.version_id, _traffic.created_at)
sa.Index(
    "ix_req_labelled",
    *(_traffic.project, _traffic.alias, _traffic.feedback_at, _traffic.created_at),
    sqlite_where=_is_labelled,
    postgresql_where=_is_labelled,
)
sa.Index("ix_signal_check_id", _signal.project, _signal.check_id, _signal.created_at)
sa.Index("ix_signal_version_id_kind", _signal.version_id, _signal.feature, _signal.kind, _signal.created_at)
sa.Index(
    "ix_decision_project_verdict",
    *(_decision.project, _decision.verdict, _decision.created_at, _decision.status, _decision.trigger),
)
guard(TABLES[Event])
_feedback = TABLES[Feedback].c
sa.Index("ix_feedback_request_id", _feedback.request_id)
sa.Index("ix_feedback_author", _feedback.project, _feedback.author, _feedback.created_at)
sa.Index("ix_drift_window_version_id_number", _window.version_id, _window.number, unique=True)


INSERTION_ORDER = {table: place for place, table in enumerate(metadata.sorted_tables)}
"""Tables come after those that they refer to."""


def row_of(record: Any) -> dict[str, Any]:
    """Return a record as a table's row."""
    return dict(vars(record))  # a record's fields are all that it has, and asking each by name is slow
