"""Writes artifacts atomically: a folder is filled aside, fsynced and renamed, its manifest of hashes last.

A folder without manifest.json is not an artifact. The manifest names every file with size and sha256, so
that a changed byte is found before anything loads it.
"""

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from driftwheel.errors import ArtifactError, StorageError
from driftwheel.identity import content_hash
from driftwheel.machine.system import sync
from driftwheel.records.json_form import as_json, from_json, only_with

MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One file of an artifact."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """What an artifact was made from; it is made anew where that differs."""

    merged_hash: str | None = only_with("merged_hash")
    ignore: tuple[str, ...] | None = only_with("ignore")
    calibration_rows: int | None = only_with("calibration_rows")
    weights_hash: str | None = only_with("weights_hash")
    dtype: str | None = only_with("dtype")


@dataclass(frozen=True, kw_only=True)
class Pins:
    """Hashes of what no form of a model may change; None where it was not pinned."""

    template_hash: str | None = only_with("template_hash")
    tokenizer_hash: str | None = only_with("tokenizer_hash")
    generation_hash: str | None = only_with("generation_hash")


@dataclass(frozen=True, kw_only=True)
class ArtifactManifest(Pins):
    """What an artifact is and where it comes from; a kind of artifact has the facts that it needs, the others None."""

    files: dict[str, FileEntry]
    content_hash: str
    kind: str | None = None
    """`adapter`; None for whole models and for folders without a model."""
    run_id: str | None = None
    dataset_id: str | None = None
    base_model: str | None = None
    base_revision: str | None = None
    base_identity: str | None = None
    dtype: str | None = None
    quantization: str = "none"
    rank: int | None = None
    """Greatest rank of an adapter's layers."""
    target_modules: tuple[str, ...] = ()
    weights_hash: str | None = None
    """Of the trained weights that were merged."""
    source: Source | None = None
    why_only_merged: str | None = None
    """Why an adapter cannot be served beside its base."""
    artifact: str | None = None
    """Content hash of what was evaluated or measured."""
    parity: str | None = None
    """Content hash of the parity table that an evaluation went by."""
    rows_hash: str | None = None
    """Of a Dataset: what its rows come to, whatever file holds them."""
    prompted_from: str | None = only_with("prompted_from")
    """Content hash of the artifact whose template was given a prompt."""
    recipe: dict[str, Any] | None = None
    """What a demo's base model was built from."""


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write JSON as `write_text` writes text."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text aside, fsync, and rename over `path`, so that a reader sees the old file or the new one.

    Raises StorageError when the disk refuses.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        aside.write_text(text, encoding="utf-8")
        sync(aside)
        aside.replace(path)
        sync(path.parent)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise StorageError(f"cannot write {path}: {error.strerror}; free some space and run the step again") from error


@contextmanager
def writing(target: Path, facts: Mapping[str, object]) -> Iterator[Path]:
    """Give an empty folder to fill; on success it becomes `target` with a manifest holding `facts`.

    `facts` may be filled inside the block. On an error nothing is left at `target` and nothing beside it.
    Raises StorageError when the disk refuses.
    """
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        yield aside
        files = sorted(p for p in aside.rglob("*") if p.is_file())
        for path in files:
            sync(path)
        listing = {
            p.relative_to(aside).as_posix(): {"bytes": p.stat().st_size, "sha256": file_sha256(p)} for p in files
        }
        write_json(aside / MANIFEST, {**facts, "files": listing, "content_hash": content_hash(listing)})
        replaced = _put_aside(target)
        aside.replace(target)
        sync(target.parent)
        if replaced is not None:
            shutil.rmtree(replaced, ignore_errors=True)
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"cannot write the artifact {target}: {error}; nothing was left behind") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def discard(folder: Path) -> None:
    """Delete a folder; whoever is killed midway leaves nothing that seems whole, because a manifest is still there."""
    aside = _put_aside(folder)
    if aside is not None:
        shutil.rmtree(aside, ignore_errors=True)


def _put_aside(folder: Path) -> Path | None:
    """Give a folder the name of what is half written, which a later `gc` deletes; None where there is none."""
    aside = folder.with_name(f".{folder.name}.{os.getpid()}-{threading.get_ident()}")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        folder.rename(aside)
    except FileNotFoundError:
        return None
    return aside


def is_complete(path: Path) -> bool:
    """Say whether a folder holds a finished artifact."""
    return (path / MANIFEST).is_file()


def read_manifest(path: Path) -> ArtifactManifest:
    """Return an artifact's manifest; raises ArtifactError if it is missing or unreadable."""
    try:
        return from_json((path / MANIFEST).read_bytes(), ArtifactManifest)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} has no {MANIFEST}: it was never finished; build it again") from error
    except (OSError, ValueError, msgspec.ValidationError) as error:
        raise ArtifactError(f"{path / MANIFEST} cannot be read: {error}; build it again") from error


def verify(path: Path) -> ArtifactManifest:
    """Check every file of an artifact against its manifest and return the manifest.

    Raises ArtifactError naming the first file that is missing, added or changed.
    """
    manifest = read_manifest(path)
    listing = manifest.files
    present = {p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()} - {MANIFEST}
    for name in sorted(present ^ listing.keys()):
        state = "missing" if name in listing else "not in the manifest"
        raise ArtifactError(f"{path / name} is {state}: the artifact was changed after it was built; build it again")
    for name, entry in listing.items():
        if file_sha256(path / name) != entry.sha256:
            raise ArtifactError(f"{path / name} does not match its manifest: refusing to load it; build it again")
    if content_hash(as_json(listing)) != manifest.content_hash:
        raise ArtifactError(
            f"{path / MANIFEST} was edited: its content hash does not match its list of files; build it again"
        )
    return manifest
