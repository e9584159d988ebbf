"""Artifacts in an object store: each file by its hash, then the manifest, last a mark that the artifact is whole.

    files/HASH          a file's bytes, and a manifest's; shared by all artifacts that have them
    artifacts/HASH      of the content hash of an artifact: the hash of its manifest; written when all else is there

So nothing half is ever seen as whole, whenever a writer dies; and what was read is compared with the hash by which it
was asked for, whoever changed it since.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from driftwheel.errors import ArtifactError, NotFoundError, StorageError
from driftwheel.files.artifacts import MANIFEST, ArtifactManifest, file_sha256, is_complete, read_manifest, verify
from driftwheel.files.object_store import ObjectStore
from driftwheel.identity import content_hash, utc_now
from driftwheel.machine.system import one_after_another, sync
from driftwheel.records.json_form import as_json, from_json

GRACE = timedelta(hours=24)
"""Objects younger than this are never collected: somebody may be storing the artifact that they belong to."""
SPARE_BYTES = 64 << 20
"""What is to be left free on the disk after a fetch."""
PUT_AGAIN = "`driftwheel artifacts put --again` on the machine that built it stores it anew"
Report = Callable[[int, int], None]
"""Is told how many of how many bytes are there."""


@dataclass(frozen=True, kw_only=True)
class Collected:
    """What a collection deleted."""

    artifacts: int
    files: int
    bytes: int


def put_artifact(store: ObjectStore, folder: Path, *, again: bool = False) -> ArtifactManifest:
    """Store a finished artifact; what is there already is sent only `again`, so a put that broke off goes on.

    Raises ArtifactError if a file was changed, StorageError if the store refuses for longer than its patience.
    """
    manifest = verify(folder)
    old = utc_now() - GRACE / 2
    named = {entry.sha256: folder / name for name, entry in manifest.files.items()}
    manifest_hash = file_sha256(folder / MANIFEST)
    for sha256, path in {**named, manifest_hash: folder / MANIFEST}.items():
        found = store.find(_file(sha256))
        # One that is old and whole is sent again, so that a collection, which takes only old ones, finds it young.
        if again or found is None or found.bytes != path.stat().st_size or found.changed_at < old:
            store.put_file(_file(sha256), path)
    store.put(_mark(manifest.content_hash), manifest_hash.encode())
    return manifest


def fetch_artifact(
    store: ObjectStore, content_hash: str, target: Path, report: Report = lambda done, all: None
) -> None:
    """Have an artifact's files in a folder, checked against their hashes; a folder that has it already is left alone.

    Of several processes that want it at once one fetches it, and one that was killed midway is gone on with. Raises
    NotFoundError if the store does not have it, ArtifactError if it holds other bytes or the folder another artifact,
    StorageError if the store or the disk refuses.
    """
    with one_after_another(target.with_name(f".{target.name}.lock")):
        if is_complete(target):
            if read_manifest(target).content_hash != content_hash:
                raise ArtifactError(f"{target} holds another artifact than {content_hash[:12]}; move it away")
            return
        text, manifest = _stored_manifest(store, content_hash)
        _check_room(target, manifest)
        aside = target.with_name(f".{target.name}.fetching")
        try:
            _fill(store, manifest, aside, report)
            (aside / MANIFEST).write_bytes(text)
            sync(aside / MANIFEST)
            shutil.rmtree(target, ignore_errors=True)
            aside.replace(target)
            sync(target.parent)
        except StorageError:
            raise
        except OSError as error:
            raise StorageError(f"cannot write the artifact {target}: {error}; it is fetched again") from error


def collect(store: ObjectStore, keep: Iterable[str], now: datetime, *, dry_run: bool = False) -> Collected:
    """Delete the artifacts whose content hashes are not among those to keep, and the files that nothing names then.

    What is younger than the grace stays; a dry run deletes nothing. Raises StorageError; what was deleted by then is
    whole: a mark goes before its files.
    """
    wanted, before = set(keep), now - GRACE
    marks = {found.key.rpartition("/")[2]: found for found in store.listing("artifacts")}
    gone = [mark for hash, mark in marks.items() if hash not in wanted and mark.changed_at < before]
    for mark in gone if not dry_run else ():
        store.delete(mark.key)
    gone_keys, named = {mark.key for mark in gone}, set[str]()
    for hash, mark in marks.items():
        if mark.key not in gone_keys:
            named |= set(_named_by(store, hash))
    files = [f for f in store.listing("files") if f.key.rpartition("/")[2] not in named and f.changed_at < before]
    for file in files if not dry_run else ():
        store.delete(file.key)
    return Collected(artifacts=len(gone), files=len(files), bytes=sum(file.bytes for file in files))


def _named_by(store: ObjectStore, content_hash: str) -> Iterator[str]:
    """Give the hashes of an artifact's files and of its manifest."""
    yield store.read(_mark(content_hash)).decode()
    for entry in _stored_manifest(store, content_hash)[1].files.values():
        yield entry.sha256


def _stored_manifest(store: ObjectStore, wanted: str) -> tuple[bytes, ArtifactManifest]:
    """Return an artifact's manifest, as it is stored and read; raises NotFoundError or ArtifactError."""
    try:
        mark = store.read(_mark(wanted)).decode(errors="replace")
    except NotFoundError as error:
        raise NotFoundError(
            f"{store.url} has no artifact {wanted[:12]}: it was never stored, or not wholly; "
            "`driftwheel artifacts put` on the machine that built it stores it"
        ) from error
    text = b"".join(_pieces(store, f"the manifest of {wanted[:12]}", mark)) if mark.isalnum() else b""
    if hashlib.sha256(text).hexdigest() != mark:
        raise _other_bytes(store, f"the manifest of {wanted[:12]}", mark)
    try:
        manifest = from_json(text, ArtifactManifest)
    except (ValueError, msgspec.ValidationError) as error:
        raise ArtifactError(f"{store.url}: the manifest of {wanted[:12]} cannot be read: {error}") from error
    if not manifest.content_hash == wanted == content_hash(as_json(manifest.files)):
        raise _other_bytes(store, f"the manifest of {wanted[:12]}", mark)
    return text, manifest


def _fill(store: ObjectStore, manifest: ArtifactManifest, aside: Path, report: Report) -> None:
    done, all_bytes = 0, sum(entry.bytes for entry in manifest.files.values())
    aside.mkdir(parents=True, exist_ok=True)
    for stray in [p for p in aside.rglob("*") if p.is_file() and p.relative_to(aside).as_posix() not in manifest.files]:
        stray.unlink()
    for name, entry in manifest.files.items():
        path = aside / name
        if not path.resolve().is_relative_to(aside.resolve()):
            raise ArtifactError(f"{store.url}: the manifest names {name!r}, which is outside the artifact; refused")
        # A fetch that was killed has left whole files, and one half.
        if not path.is_file() or file_sha256(path) != entry.sha256:
            path.parent.mkdir(parents=True, exist_ok=True)
            hasher = hashlib.sha256()
            with path.open("wb") as file:
                for piece in _pieces(store, name, entry.sha256):
                    file.write(piece)
                    hasher.update(piece)
                    report(done + file.tell(), all_bytes)
            if hasher.hexdigest() != entry.sha256:
                path.unlink()
                raise _other_bytes(store, name, entry.sha256)
            sync(path)
        done += entry.bytes
        report(done, all_bytes)


def _pieces(store: ObjectStore, name: str, sha256: str) -> Iterator[bytes]:
    try:
        yield from store.pieces(_file(sha256))
    except NotFoundError as error:
        raise ArtifactError(f"{store.url} has lost {name} (files/{sha256[:64]}); {PUT_AGAIN}") from error


def _check_room(target: Path, manifest: ArtifactManifest) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    needed, free = sum(e.bytes for e in manifest.files.values()), shutil.disk_usage(target.parent).free
    if needed + SPARE_BYTES > free:
        raise StorageError(
            f"{target} takes {needed / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free on its disk; free some space"
        )


def _other_bytes(store: ObjectStore, name: str, sha256: str) -> ArtifactError:
    return ArtifactError(
        f"{store.url} serves other bytes for {name} than were stored (files/{sha256[:64]}): refusing to load it; "
        f"{PUT_AGAIN}"
    )


def _file(sha256: str) -> str:
    return f"files/{sha256}"


def _mark(content_hash: str) -> str:
    return f"artifacts/{content_hash}"
