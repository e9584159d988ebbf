"""Records SQLite's writes, so that the disk after a power cut at any moment can be made.

The record comes from a SQLite VFS (apsw) under the product's own Ledger: its statements, pragmas and transactions, with
apsw's SQLite in place of pysqlite3's. What is recovered afterwards is opened by the product's own SQLite.
"""

import contextlib
import random
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import apsw

SECTOR_BYTES = 512
VFS_NAME = "recorded"


@dataclass(frozen=True)
class Event:
    """One thing that happened to a file, or an acknowledgement."""

    kind: str
    """`write`, `truncate`, `sync`, `delete` or `acknowledge`."""
    name: str
    offset: int = 0
    data: bytes = b""


@dataclass
class Disk:
    """What was written, in order; and whether there is room for more."""

    events: list[Event] = field(default_factory=list)
    writes: int = 0
    refused_writes: int = 0
    full_at_write: int | None = None
    """From this write on the disk is full, until it is None again."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def record(self, event: Event) -> None:
        """Keep an event; raises FullError where the disk has no room for a write."""
        with self._lock:
            if event.kind == "write":
                self.writes += 1
                if self.full_at_write is not None and self.writes >= self.full_at_write:
                    self.refused_writes += 1
                    raise apsw.FullError("the disk is full")
            self.events.append(event)

    def acknowledge(self, name: str) -> None:
        """Note that somebody was told that a thing is durable."""
        self.record(Event("acknowledge", name))


class _RecordedFile(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        self._name = Path(name.filename() if isinstance(name, apsw.URIFilename) else name).name

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.record(Event("write", self._name, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:
        self._disk.record(Event("truncate", self._name, size))
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:
        self._disk.record(Event("sync", self._name))


class _RecordingVfs(apsw.VFS):
    def __init__(self, disk: Disk) -> None:
        super().__init__(VFS_NAME, "")
        self._disk = disk

    def xOpen(self, name: Any, flags: list[int]) -> _RecordedFile:
        return _RecordedFile(self._disk, name, flags)

    def xDelete(self, name: str, syncdir: bool) -> None:
        self._disk.record(Event("delete", Path(name).name))
        super().xDelete(name, syncdir)


class _Cursor:
    """As much of a DB-API cursor as SQLAlchemy needs."""

    arraysize = 1

    def __init__(self, connection: "_Connection") -> None:
        self._connection = connection
        self._rows: list[tuple[Any, ...]] = []
        self.description: Any = None
        self.rowcount = self.lastrowid = -1

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> "_Cursor":
        return self.executemany(sql, [parameters])

    def executemany(self, sql: str, sets: Sequence[Sequence[Any]]) -> "_Cursor":
        raw = self._connection.raw
        cursor, before = raw.cursor(), raw.total_changes()
        cursor.exec_trace = self._describe
        with _translated():
            for parameters in sets:
                self._rows = list(cursor.execute(self._connection.rewrite(sql), tuple(parameters)))
        self.rowcount = raw.total_changes() - before
        return self

    def _describe(self, cursor: apsw.Cursor, sql: str, bindings: Any) -> bool:
        self.description = [(name, *[None] * 6) for name, *_ in cursor.get_description()] or None
        return True

    def fetchall(self) -> list[tuple[Any, ...]]:
        rows, self._rows = self._rows, []
        return rows

    def fetchone(self) -> tuple[Any, ...] | None:
        return self._rows.pop(0) if self._rows else None

    def fetchmany(self, size: int = 1) -> list[tuple[Any, ...]]:
        rows, self._rows = self._rows[:size], self._rows[size:]
        return rows

    def close(self) -> None: ...


class _Connection:
    """As much of a DB-API connection as SQLAlchemy needs."""

    isolation_level = None

    def __init__(self, path: str, timeout: float, rewrite: Callable[[str], str]) -> None:
        with _translated():
            self.raw = apsw.Connection(path, vfs=VFS_NAME)
        self.raw.set_busy_timeout(round(timeout * 1000))
        self.rewrite = rewrite

    def cursor(self) -> _Cursor:
        return _Cursor(self)

    def execute(self, sql: str) -> _Cursor:
        return self.cursor().execute(sql)

    def create_function(self, name: str, count: int, function: Any, *, deterministic: bool = False) -> None:
        self.raw.create_scalar_function(name, function, count, deterministic=deterministic)

    def commit(self) -> None:
        if self.raw.in_transaction:
            self.execute("COMMIT")

    def rollback(self) -> None:
        if self.raw.in_transaction:
            self.execute("ROLLBACK")

    def close(self) -> None:
        self.raw.close()


class RecordedSqlite(ModuleType):
    """A DB-API module on a recorded disk; with `is_normal` it syncs as with `synchronous=NORMAL`, the planted bug."""

    class Error(Exception): ...

    class DatabaseError(Error): ...

    class OperationalError(DatabaseError): ...

    class IntegrityError(DatabaseError): ...

    class ProgrammingError(DatabaseError): ...

    InterfaceError = DataError = InternalError = NotSupportedError = DatabaseError
    paramstyle = "qmark"
    sqlite_version_info = tuple(map(int, apsw.sqlite_lib_version().split(".")))

    def __init__(self, disk: Disk, *, is_normal: bool = False) -> None:
        super().__init__("recorded_sqlite")
        self._vfs = _RecordingVfs(disk)
        self._replaced = {"PRAGMA synchronous=FULL": "PRAGMA synchronous=NORMAL"} if is_normal else {}

    def connect(self, path: str, *, timeout: float, **_: Any) -> _Connection:
        return _Connection(path, timeout, lambda sql: self._replaced.get(sql, sql))


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except apsw.ConstraintError as error:
        raise RecordedSqlite.IntegrityError(str(error)) from error
    except apsw.Error as error:
        raise RecordedSqlite.OperationalError(str(error)) from error


def after_power_cut(events: Sequence[Event], chance: random.Random) -> dict[str, bytes]:
    """Return the files as a power cut after these events may leave them.

    What came before a file's last sync is there. Of what came after it each write is there, or not, or torn: some of
    its sectors are, the others are not. Writes of different files, and of one, reach the disk in any order.
    """
    synced_at: dict[str, int] = {}
    for number, event in enumerate(events):
        if event.kind in ("sync", "delete"):
            synced_at[event.name] = number
    files: dict[str, bytearray] = defaultdict(bytearray)
    for number, event in enumerate(events):
        if event.kind == "delete":
            files.pop(event.name, None)
        elif event.kind == "truncate" and (number < synced_at.get(event.name, -1) or chance.random() < 0.5):
            del files[event.name][event.offset :]
        elif event.kind == "write":
            for offset, data in (
                [(event.offset, event.data)] if number < synced_at.get(event.name, -1) else _torn(event, chance)
            ):
                _put(files[event.name], offset, data)
    return {name: bytes(data) for name, data in files.items()}


def _torn(event: Event, chance: random.Random) -> list[tuple[int, bytes]]:
    """Return the parts of an unsynced write that reached the disk: all, none or some of its sectors."""
    fate = chance.random()
    if fate < 1 / 3:
        return [(event.offset, event.data)]
    if fate < 2 / 3:
        return []
    starts = range(0, len(event.data), SECTOR_BYTES)
    return [(event.offset + at, event.data[at : at + SECTOR_BYTES]) for at in starts if chance.random() < 0.5]


def _put(file: bytearray, offset: int, data: bytes) -> None:
    if len(file) < offset:
        file.extend(bytes(offset - len(file)))
    file[offset : offset + len(data)] = data
