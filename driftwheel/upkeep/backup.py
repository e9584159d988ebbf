"""Writes a backup: one folder with the databases as of one moment, the storage folder's files, and a hash of each."""

from dataclasses import dataclass
from pathlib import Path

from driftwheel.errors import ConflictError
from driftwheel.files.artifacts import writing
from driftwheel.identity import utc_now
from driftwheel.settings.settings import StorageSettings
from driftwheel.store.ledger import Ledger
from driftwheel.upkeep.copied_rows import copy_ledger, copy_sqlite
from driftwheel.upkeep.storage_files import DATABASES, LEDGER, copy_file, files_to_keep, only_upkeep

KIND = "backup"
FOLDER = "storage"
"""The folder in a backup that becomes the storage folder again, databases and all."""


@dataclass(frozen=True, kw_only=True)
class Backup:
    """What was written."""

    path: Path
    files: int
    databases: tuple[str, ...]


def write_backup(storage: StorageSettings, ledger: Ledger, root: Path, to: Path) -> Backup:
    """Copy a loop that may be running into a new folder; the folder appears when it is whole.

    The databases go first: every artifact that they name is then in the folder. Raises ConflictError if there is
    something at `to`, StorageError if the disk refuses.
    """
    to = to.absolute()
    if to.exists():
        raise ConflictError(f"{to} is there already; name a folder that is not, a backup never changes an older one")
    if to.is_relative_to(root):
        raise ConflictError(f"{to} lies in the storage folder, which it is to be a backup of; name another place")
    facts: dict[str, object] = {"kind": KIND, "recipe": {"made_at": utc_now().isoformat(), "root": str(root)}}
    with only_upkeep(root), writing(to, facts) as made:
        target = made / FOLDER
        target.mkdir()
        databases = _copy_databases(storage, ledger, root, target)
        files = sum(copy_file(path, target / path.relative_to(root)) for path in files_to_keep(root))
    return Backup(path=to, files=files, databases=databases)


def _copy_databases(storage: StorageSettings, ledger: Ledger, root: Path, target: Path) -> tuple[str, ...]:
    copied = []
    for name in DATABASES[:-1]:
        if storage.database_url is None and (root / name).is_file():
            copy_sqlite(root / name, target / name)
            copied.append(name)
    copy_ledger(ledger, target / LEDGER)
    return (*copied, LEDGER)
