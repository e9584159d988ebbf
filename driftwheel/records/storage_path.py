"""A path is absolute in memory; where it is kept, one inside the storage folder is relative to it, so that it may move.

What is kept relative begins with `storage:`, which neither a path that a person writes nor a model's name does: a
setting such as `./models/base` is another folder's path, and comes out as it went in.
"""

import typing
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

StoragePath = Annotated[str, "storage"]
"""A path, or the name of a model; what lies in the storage folder is stored relative to it, so that it may move."""
INSIDE = "storage:"


def shortened(path: str, root: Path) -> str:
    """Return a path as it is kept: relative to the storage folder if it lies inside."""
    return INSIDE + Path(path).relative_to(root).as_posix() if Path(path).is_relative_to(root) else path


def lengthened(kept: str, root: Path) -> str:
    """Return a kept path as it is in memory: absolute."""
    return str(root / kept.removeprefix(INSIDE)) if kept.startswith(INSIDE) else kept


def change_paths(found: Any, kind: Any, change: Callable[[str, Path], str], root: Path) -> Any:
    """Return a dataclass' JSON with its own paths shortened or lengthened; JSON that is no object stays as it is."""
    names = _paths_of(kind) if isinstance(found, dict) else ()
    changed = {name: change(found[name], root) for name in names if isinstance(found.get(name), str)}
    return found | changed if changed else found


def is_path(annotation: Any) -> bool:
    """Say whether an annotation is that of a StoragePath, or of one that may be None."""
    return annotation == StoragePath or StoragePath in typing.get_args(annotation)


@cache
def _paths_of(kind: Any) -> frozenset[str]:
    hints = typing.get_type_hints(kind, include_extras=True) if is_dataclass(kind) else {}
    return frozenset(name for name, hint in hints.items() if is_path(hint))
