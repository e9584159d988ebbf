"""A version's files on this machine: stored for the others when it is published, fetched where they are not yet."""

from pathlib import Path

from driftwheel.errors import ArtifactError, ConfigError, ConflictError, NotFoundError
from driftwheel.files.artifacts import is_complete
from driftwheel.files.object_store import ObjectStore, open_store
from driftwheel.files.stored_artifacts import Collected, Report, collect, fetch_artifact, put_artifact
from driftwheel.identity import utc_now
from driftwheel.records.nouns import ModelVersion, ModelVersionStatus
from driftwheel.settings.settings import StorageSettings
from driftwheel.store.ledger import Ledger


def store_of(storage: StorageSettings) -> ObjectStore | None:
    """Return the store of artifacts, or None where none is named; raises ConfigError."""
    return None if storage.artifacts is None else open_store(storage.artifacts, storage.artifacts_timeout_seconds)


def share(storage: StorageSettings, folder: Path) -> None:
    """Store a finished artifact for other machines, where a store is named; raises ArtifactError or StorageError."""
    store = store_of(storage)
    if store is not None:
        put_artifact(store, folder)


def collect_stored(storage: StorageSettings, ledger: Ledger, *, dry_run: bool) -> Collected:
    """Delete from the store what no published version of the ledger serves.

    Raises ConfigError, StorageError, or ConflictError for a ledger without any version, to which all is a leftover.
    """
    store = store_of(storage)
    if store is None:
        raise ConfigError("storage.artifacts names no store to collect in; set it to a folder or s3://BUCKET/PREFIX")
    published = ledger.find(ModelVersion, status=ModelVersionStatus.PUBLISHED)
    if not published:
        raise ConflictError(
            f"the ledger at {ledger.address} knows no published version, so that all in {store.url} would be deleted; "
            "is it the right database?"
        )
    return collect(store, [version.manifest_hash for version in published], utc_now(), dry_run=dry_run)


def bring(storage: StorageSettings, version: ModelVersion, report: Report = lambda done, all: None) -> None:
    """Have a version's files at its path: they are there, or come from the store.

    Raises ArtifactError if they are nowhere or not those that were judged, StorageError if store or disk refuses.
    """
    path = Path(version.path)
    if is_complete(path):
        return
    store = store_of(storage)
    if store is None:
        raise ArtifactError(
            f"{version.id} has no files at {path}, and storage.artifacts names no store to fetch them from; "
            "set it, or copy the files here"
        )
    try:
        fetch_artifact(store, version.manifest_hash, path, report)
    except NotFoundError as error:
        raise ArtifactError(f"{version.id} has no files at {path}: {error}") from error
