"""Verifies a loop's memory: the database itself, what its rows name, and every byte of what they name."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from driftwheel.errors import ArtifactError
from driftwheel.files.artifacts import verify
from driftwheel.records.nouns import Alias, Dataset, ModelVersion, ModelVersionStatus, TrainingRun, TrainingRunStatus
from driftwheel.store.database import SQLITE
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import REFERENCES, metadata
from driftwheel.upkeep.storage_files import DATABASES, LEDGER


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that is not as it should be."""

    what: str
    """The id or the file."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What was looked at, and what was found."""

    looked_at: int
    """Databases, and folders of datasets, runs and versions."""
    faults: tuple[Fault, ...]


def verify_loop(ledger: Ledger, project: str, root: Path) -> Verified:
    """Look at the databases and at all that a project's rows name."""
    folders = [*_folders(ledger, project)]
    faults = [*_of_databases(ledger, root), *_dangling(ledger), *_of_aliases(ledger, project)]
    for what, path, expected in folders:
        faults += [Fault(what=what, reason=reason) for reason in _of_folder(path, expected)]
    return Verified(looked_at=len(folders) + 1, faults=tuple(faults))


def _folders(ledger: Ledger, project: str) -> Iterator[tuple[str, Path, str | None]]:
    """Give each folder that must be there, with who names it, and with the hash that its manifest must have."""
    for dataset in ledger.find(Dataset, project=project):
        yield dataset.id, Path(dataset.path), None
    for version in ledger.find(ModelVersion, project=project):
        if version.status is ModelVersionStatus.PUBLISHED:
            yield version.id, Path(version.path), version.manifest_hash
    for run in ledger.find(TrainingRun, project=project, status=TrainingRunStatus.SUCCEEDED):
        if not Path(run.path).is_dir():
            yield run.id, Path(run.path), None


def _of_folder(path: Path, expected: str | None) -> Iterator[str]:
    try:
        manifest = verify(path)
    except ArtifactError as error:
        yield str(error)
        return
    if expected is not None and manifest.content_hash != expected:
        yield f"{path} is another artifact than the ledger's: its content hash is {manifest.content_hash[:12]}"


def _of_databases(ledger: Ledger, root: Path) -> Iterator[Fault]:
    """Ask SQLite whether each of its files is sound; a server looks after itself."""
    if ledger.engine.dialect.name != SQLITE:
        return
    module = ledger.engine.dialect.loaded_dbapi
    for name in DATABASES:
        path = root / name
        if name != LEDGER and not path.is_file():
            continue
        if name == LEDGER:
            with ledger.read() as connection:
                found = [row[0] for row in connection.exec_driver_sql("PRAGMA integrity_check")]
        else:
            opened = module.connect(f"file:{path}?mode=ro", uri=True)
            try:
                found = [row[0] for row in opened.execute("PRAGMA integrity_check")]
            except module.DatabaseError as error:
                found = [str(error)]
            finally:
                opened.close()
        if found != ["ok"]:
            yield Fault(what=name, reason=f"SQLite says: {found[0]}; put a backup back (`driftwheel restore`)")


def _dangling(ledger: Ledger) -> Iterator[Fault]:
    """Give the rows that name a row which is not there."""
    with ledger.read() as connection:
        for (table_name, column), target_name in REFERENCES.items():
            table, target = metadata.tables[table_name], metadata.tables[target_name]
            names = table.c[column]
            is_gone = sa.and_(names.is_not(None), ~sa.exists().where(target.c.id == names))
            for row_id, named in connection.execute(sa.select(table.c.id, names).where(is_gone).limit(10)):
                yield Fault(what=row_id, reason=f"its {column} names {named}, which is not in the ledger")


def _of_aliases(ledger: Ledger, project: str) -> Iterator[Fault]:
    for alias in ledger.find(Alias, project=project):
        for id in filter(None, (alias.version_id, alias.previous_version_id)):
            if not ledger.count(ModelVersion, id=id, status=ModelVersionStatus.PUBLISHED):
                yield Fault(what=alias.id, reason=f"it names {id}, which is no published version")
