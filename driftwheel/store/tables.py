"""Records become tables: a column for each field, its type from the field's annotation."""

import types
import typing
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec
import sqlalchemy as sa

from driftwheel.records import RECORDS, DriftSignal, RetrainDecision, Traffic, Window


class UtcTime(sa.types.TypeDecorator[datetime]):
    """An aware UTC time, stored as microseconds since 1970 so that both databases sort it alike."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> int | None:
        return None if value is None else round(value.timestamp() * 1_000_000)

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else datetime.fromtimestamp(value / 1_000_000, UTC)


class Nested(sa.types.TypeDecorator[Any]):
    """A frozen dataclass, or a list or dict of such, stored as JSON; keys that it does not know are left out."""

    impl = sa.JSON
    cache_ok = True

    def __init__(self, annotation: Any) -> None:
        super().__init__()
        self.annotation = annotation

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:
        return msgspec.to_builtins(value)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Any:
        return None if value is None else msgspec.convert(value, self.annotation)


def _holds_dataclass(annotation: Any) -> bool:
    return is_dataclass(annotation) or any(_holds_dataclass(a) for a in typing.get_args(annotation))


def _column_type(annotation: Any) -> Any:
    options = [a for a in typing.get_args(annotation) if a is not type(None)]
    kind = options[0] if isinstance(annotation, types.UnionType) else annotation
    kind = typing.get_origin(kind) or kind
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return sa.String(32)
    if _holds_dataclass(annotation):
        return Nested(annotation)
    simple = {str: sa.Text(), int: sa.BigInteger(), float: sa.Float(), bool: sa.Boolean()}
    return simple.get(kind) or (UtcTime() if kind is datetime else sa.JSON())


metadata = sa.MetaData()
TABLES: dict[type, sa.Table] = {}
for _record in RECORDS:
    _hints = typing.get_type_hints(_record)
    TABLES[_record] = sa.Table(
        _record.prefix,
        metadata,
        *(
            sa.Column(
                f.name,
                _column_type(_hints[f.name]),
                primary_key=f.name == "id",
                nullable=isinstance(_hints[f.name], types.UnionType),
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
sa.Index("ix_drift_window_version_id_number", _window.version_id, _window.number, unique=True)


def row_of(record: Any) -> dict[str, Any]:
    """Return a record as a table's row."""
    return dict(vars(record))  # a record's fields are all that it has, and asking each by name is slow
