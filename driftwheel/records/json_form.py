"""Serializes frozen records as JSON for files, `--json` and model cards, and reads them back."""

import json
from dataclasses import Field, field, fields, is_dataclass
from typing import Any, TypeVar

import msgspec

Record = TypeVar("Record")


def only_with(name: str) -> Any:
    """Return a field that is None by default, and that the JSON leaves out where the field `name` is None."""
    return field(default=None, metadata={"only_with": name})


def as_json(value: Any) -> Any:
    """Return a record as JSON objects and arrays, without the parts that it does not have."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: as_json(getattr(value, f.name)) for f in fields(value) if _is_written(value, f)}
    if isinstance(value, dict):
        return {key: as_json(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(part) for part in value]
    return value


def from_json(text: str | bytes, kind: type[Record]) -> Record:
    """Return a record from its JSON; keys that it does not know are left out.

    Raises ValueError if it is no JSON, msgspec.ValidationError if it is another record's. The standard parser is used
    because it reads NaN, which log-probabilities of a broken model are.
    """
    return msgspec.convert(json.loads(text), kind)


def _is_written(value: Any, one: "Field[Any]") -> bool:
    decisive = one.metadata.get("only_with")
    return decisive is None or getattr(value, decisive) is not None
