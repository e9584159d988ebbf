"""Takes the rows of forgotten requests out of exported files, or says in which of them nobody can."""

from collections.abc import Iterator
from pathlib import Path

from driftwheel.files.artifacts import write_text
from driftwheel.foreign_json import read_json
from driftwheel.traffic.export import EXPORTS


def clear_exports(root: Path, ids: frozenset[str], *, dry_run: bool) -> Iterator[str]:
    """Take the rows out of the exported files that are still there; give those in which nobody can."""
    path = root / EXPORTS
    listed = path.read_bytes().splitlines() if path.is_file() else []
    names = [_field(line, "file") for line in listed if line.strip()]
    if None in names:  # a process was killed while it wrote the line, or somebody edited it
        yield f"{path}, where a line names no file"
    for file in sorted({Path(name) for name in names if name is not None}):
        if file.is_file() and not (file.suffix == ".jsonl" and _is_cleared(file, ids, dry_run=dry_run)):
            yield str(file)


def _is_cleared(file: Path, ids: frozenset[str], *, dry_run: bool) -> bool:
    """Take the rows out of a file; false where that cannot be done. Lines that are no rows of ours stay."""
    try:
        # Of bytes: a text's lines would end at U+0085 and U+2028, too, which answers may hold.
        lines = file.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if _field(line, "id") not in ids]
        if not dry_run and len(kept) < len(lines):
            write_text(file, b"".join(kept).decode("utf-8"))
    except (OSError, UnicodeDecodeError):  # in a closed folder, or what somebody else has made of it
        return False
    return True


def _field(line: bytes, name: str) -> str | None:
    try:
        value = read_json(line.decode("utf-8")) if line.strip() else None
    except ValueError:
        return None
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, str) else None
