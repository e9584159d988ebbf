"""Puts a backup back: every byte is checked, nothing that is there is overwritten, and it appears when it is whole."""

import os
import shutil
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from driftwheel.errors import ArtifactError, ConflictError, StorageError
from driftwheel.files.artifacts import MANIFEST, ArtifactManifest, verify
from driftwheel.store.ledger import Ledger
from driftwheel.upkeep.backup import FOLDER, KIND
from driftwheel.upkeep.copied_rows import fill_ledger
from driftwheel.upkeep.storage_files import LEDGER, copy_file


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What was put back, and where."""

    root: Path
    files: int
    database: str
    """The ledger's address for messages."""


def checked_backup(path: Path) -> ArtifactManifest:
    """Return a backup's manifest; raises ArtifactError if a byte differs, or if it is none."""
    manifest = verify(path)
    if manifest.kind != KIND:
        raise ArtifactError(f"{path} is no backup; `driftwheel backup TO` writes one")
    return manifest


def restore_backup(path: Path, root: Path, database_url: str | None) -> Restored:
    """Put a backup back as the storage folder `root`, which may be another than it was taken from.

    With a URL the ledger's rows go into that server's database, which must be empty. Raises ConflictError if there is
    something at `root`, ArtifactError if a byte of the backup differs, StorageError if the disk refuses.
    """
    manifest = checked_backup(path)
    if root.exists() and any(root.iterdir()):
        raise ConflictError(f"{root} is not empty; move it away, or restore to another folder: --to FOLDER")
    # Of this process alone: of two restores at once one would else rename what the other has half emptied.
    aside = root.with_name(f".{root.name}.restored.{os.getpid()}")
    _clear_killed(root)
    try:
        aside.mkdir(parents=True, mode=0o700)
        for name in manifest.files:
            if name.startswith(f"{FOLDER}/"):
                copy_file(path / name, aside / Path(name).relative_to(FOLDER))
        if database_url is not None:
            with closing(Ledger(database_url, root=root)) as ledger:
                fill_ledger(aside / LEDGER, ledger)
                address = ledger.address
            for name in (LEDGER, f"{LEDGER}-wal", f"{LEDGER}-shm"):
                (aside / name).unlink(missing_ok=True)
        else:
            address = f"sqlite:///{root / LEDGER}"
        aside.replace(root)  # over an empty folder, and over no other
    except OSError as error:
        raise StorageError(f"cannot restore to {root}: {error}; nothing was left there") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return Restored(root=root, files=len([name for name in manifest.files if name != MANIFEST]), database=address)


def _clear_killed(root: Path) -> None:
    """Delete what restores to the same folder left that were killed."""
    mark = f".{root.name}.restored."
    for path in root.parent.iterdir() if root.parent.is_dir() else ():
        number = path.name.removeprefix(mark)
        if path.name.startswith(mark) and number.isdigit() and not Path("/proc", number).exists():
            shutil.rmtree(path, ignore_errors=True)
