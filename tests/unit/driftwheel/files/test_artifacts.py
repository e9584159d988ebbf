"""An artifact is complete or absent, and a changed byte is found."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from driftwheel.errors import ArtifactError, StorageError
from driftwheel.files.artifacts import MANIFEST, discard, is_complete, read_manifest, verify, write_json, writing


def build(target: Path) -> Path:
    with writing(target, {"quantization": "w8a8"}) as folder:
        (folder / "model.safetensors").write_bytes(b"weights" * 100)
        (folder / "sub").mkdir()
        (folder / "sub" / "config.json").write_text("{}")
    return target


def test_a_finished_artifact_verifies_and_carries_its_facts(tmp_path: Path) -> None:
    manifest = verify(build(tmp_path / "a"))
    assert manifest.quantization == "w8a8"
    assert set(manifest.files) == {"model.safetensors", "sub/config.json"}


def test_equal_files_have_equal_content_hashes(tmp_path: Path) -> None:
    first, second = build(tmp_path / "a"), build(tmp_path / "b")
    assert read_manifest(first).content_hash == read_manifest(second).content_hash


def corrupt(path: Path) -> None:
    data = bytearray((path / "model.safetensors").read_bytes())
    data[10] ^= 1
    (path / "model.safetensors").write_bytes(data)


def edit_manifest(path: Path) -> None:
    manifest = json.loads((path / MANIFEST).read_text())
    (path / "model.safetensors").write_bytes(b"other")
    import hashlib

    manifest["files"]["model.safetensors"]["sha256"] = hashlib.sha256(b"other").hexdigest()
    (path / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (corrupt, "does not match its manifest"),
        (lambda p: (p / "sub" / "config.json").unlink(), "is missing"),
        (lambda p: (p / "extra.py").write_text("x"), "not in the manifest"),
        (lambda p: (p / MANIFEST).unlink(), "never finished"),
        (lambda p: (p / MANIFEST).write_text("{"), "cannot be read"),
        (edit_manifest, "was edited"),
    ],
    ids=["one flipped bit", "a file gone", "a file added", "no manifest", "torn manifest", "manifest edited to fit"],
)
def test_a_damaged_artifact_is_refused(tmp_path: Path, damage: object, words: str) -> None:
    path = build(tmp_path / "a")
    damage(path)  # type: ignore[operator]
    with pytest.raises(ArtifactError, match=words):
        verify(path)


def test_a_failed_build_leaves_nothing_and_keeps_the_old_artifact(tmp_path: Path) -> None:
    build(tmp_path / "a")
    with pytest.raises(StorageError, match="nothing was left behind"), writing(tmp_path / "a", {}) as folder:
        (folder / "half").write_text("x")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert verify(tmp_path / "a").quantization == "w8a8"


def test_a_full_disk_is_one_clear_error_and_leaves_nothing(tmp_path: Path) -> None:
    """The file-size limit of a child process stands for the disk: the kernel refuses the write in the same way."""
    code = f"""
import resource, signal, pathlib
from driftwheel.files.artifacts import writing
from driftwheel.errors import StorageError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    with writing(pathlib.Path({str(tmp_path / "a")!r}), {{}}) as folder:
        (folder / "weights").write_bytes(b"x" * 100_000)
except StorageError as error:
    print("refused:", error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("refused: cannot write the artifact")
    assert list(tmp_path.iterdir()) == []


def test_a_killed_build_is_not_an_artifact(tmp_path: Path) -> None:
    code = f"""
import os, pathlib
from driftwheel.files.artifacts import writing
with writing(pathlib.Path({str(tmp_path / "a")!r}), {{}}) as folder:
    (folder / "weights").write_bytes(b"x")
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert not is_complete(tmp_path / "a")


def test_write_json_replaces_in_one_go(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 2}
    assert os.listdir(tmp_path) == ["x.json"]


@pytest.mark.parametrize("is_replaced", [False, True], ids=["deleted", "replaced"])
def test_who_is_killed_while_a_folder_is_deleted_leaves_nothing_that_seems_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_replaced: bool
) -> None:
    """Its manifest can be the last file to go: `publish` then found finished weights that were not there."""
    target, remove = build(tmp_path / "a"), shutil.rmtree

    def killed(folder: Path, **_: object) -> None:
        if (folder / MANIFEST).is_file():
            (folder / "model.safetensors").unlink()
            raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        build(target) if is_replaced else discard(target)
    if target.exists():
        verify(target)
    monkeypatch.setattr(shutil, "rmtree", remove)
    verify(build(target))
    discard(target)
    discard(target)
    assert not target.exists()
