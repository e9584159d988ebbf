"""What is stored on one machine is the same on another, or is refused by name; nothing half is ever seen as whole."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from driftwheel.cli.main import main
from driftwheel.errors import ArtifactError, ConfigError, NotFoundError, StorageError
from driftwheel.files.artifacts import MANIFEST, is_complete, verify, write_json, writing
from driftwheel.files.object_store import ObjectStore, open_store
from driftwheel.files.stored_artifacts import GRACE, collect, fetch_artifact, put_artifact
from driftwheel.files.version_files import bring, share
from driftwheel.identity import utc_now
from driftwheel.records.nouns import ModelVersion
from driftwheel.settings.load import load_settings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from tests.support.s3_server import BUCKET, ENVIRONMENT, Door, S3Server
from tests.support.versions import add_with_parents, published_version

WEIGHTS = os.urandom(300_000)
PATIENCE_SECONDS = 60.0


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3") / "moto.log")
    yield server
    server.stop()


@pytest.fixture
def door(s3_server: S3Server) -> Iterator[Door]:
    opened = Door(s3_server.address)
    yield opened
    opened.close()


@pytest.fixture
def store(door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """A prefix of this test's own in a bucket, behind a door."""
    for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": door.url}.items():
        monkeypatch.setenv(name, value)
    return open_store(f"s3://{BUCKET}/{tmp_path.name}", PATIENCE_SECONDS)


@pytest.fixture(params=["s3", "folder"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "folder":
        return open_store(str(tmp_path / "shared"), PATIENCE_SECONDS)
    found: ObjectStore = request.getfixturevalue("store")
    return found


def artifact(folder: Path, **facts: object) -> str:
    """Build an artifact, and return its content hash."""
    with writing(folder, {"run_id": "run", **facts}) as aside:
        (aside / "model.safetensors").write_bytes(WEIGHTS)
        (aside / "deep").mkdir()
        write_json(aside / "deep" / "config.json", facts)
    return verify(folder).content_hash


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_is_fetched_elsewhere_is_what_was_stored(any_store: ObjectStore, tmp_path: Path) -> None:
    wanted = artifact(tmp_path / "built")
    put_artifact(any_store, tmp_path / "built")
    seen: list[tuple[int, int]] = []
    fetch_artifact(any_store, wanted, tmp_path / "fetched", lambda done, all: seen.append((done, all)))
    assert files(tmp_path / "fetched") == files(tmp_path / "built")
    assert verify(tmp_path / "fetched").content_hash == wanted
    assert seen[-1][0] == seen[-1][1] == len(WEIGHTS) + len((tmp_path / "built/deep/config.json").read_bytes())


def test_two_artifacts_share_the_files_that_they_have_in_common(any_store: ObjectStore, tmp_path: Path) -> None:
    for number in (1, 2):
        artifact(tmp_path / f"built_{number}", number=number)
        put_artifact(any_store, tmp_path / f"built_{number}")
    assert len(any_store.listing("artifacts")) == 2
    assert [found.bytes for found in any_store.listing("files")].count(len(WEIGHTS)) == 1


def test_what_is_here_already_is_not_fetched(any_store: ObjectStore, tmp_path: Path) -> None:
    wanted = artifact(tmp_path / "built")  # and it is not even in the store
    fetch_artifact(any_store, wanted, tmp_path / "built")
    with pytest.raises(NotFoundError, match="never stored"):
        fetch_artifact(any_store, wanted, tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match="holds another artifact"):
        fetch_artifact(any_store, "0" * 64, tmp_path / "built")


def test_a_fetch_that_was_killed_is_gone_on_with(any_store: ObjectStore, tmp_path: Path) -> None:
    wanted = artifact(tmp_path / "built")
    put_artifact(any_store, tmp_path / "built")
    aside = tmp_path / ".fetched.fetching"
    (aside / "deep").mkdir(parents=True)
    shutil.copy(tmp_path / "built/deep/config.json", aside / "deep")
    (aside / "model.safetensors").write_bytes(WEIGHTS[:1000])
    (aside / "of an older artifact").write_bytes(b"")
    any_store.delete(f"files/{hashlib.sha256((aside / 'deep/config.json').read_bytes()).hexdigest()}")
    fetch_artifact(any_store, wanted, tmp_path / "fetched")
    assert files(tmp_path / "fetched") == files(tmp_path / "built")
    assert not aside.exists()


def test_of_several_that_want_it_at_once_one_fetches(any_store: ObjectStore, tmp_path: Path) -> None:
    wanted = artifact(tmp_path / "built")
    put_artifact(any_store, tmp_path / "built")
    fetched: list[int] = []

    def fetch(number: int) -> None:
        fetch_artifact(any_store, wanted, tmp_path / "fetched", lambda done, all: fetched.append(number))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(fetch, range(4)))
    assert len(set(fetched)) == 1
    assert files(tmp_path / "fetched") == files(tmp_path / "built")


@pytest.mark.parametrize("changed", ["model.safetensors", MANIFEST])
def test_other_bytes_than_were_stored_are_refused_by_name(any_store: ObjectStore, tmp_path: Path, changed: str) -> None:
    wanted = artifact(tmp_path / "built")
    put_artifact(any_store, tmp_path / "built")
    content = bytearray((tmp_path / "built" / changed).read_bytes())
    key = f"files/{hashlib.sha256(content).hexdigest()}"
    content[100] ^= 1
    any_store.put(key, bytes(content))
    with pytest.raises(ArtifactError, match=f"serves other bytes for .*{key[:20]}.*put --again"):
        fetch_artifact(any_store, wanted, tmp_path / "fetched")
    assert not is_complete(tmp_path / "fetched")
    put_artifact(any_store, tmp_path / "built")  # the size is right, so it is not sent
    with pytest.raises(ArtifactError, match="serves other bytes"):
        fetch_artifact(any_store, wanted, tmp_path / "fetched")
    put_artifact(any_store, tmp_path / "built", again=True)
    fetch_artifact(any_store, wanted, tmp_path / "fetched")
    assert files(tmp_path / "fetched") == files(tmp_path / "built")


def test_a_mark_that_names_another_artifact_is_refused(any_store: ObjectStore, tmp_path: Path) -> None:
    wanted, other = artifact(tmp_path / "one", number=1), artifact(tmp_path / "two", number=2)
    for name in ("one", "two"):
        put_artifact(any_store, tmp_path / name)
    any_store.put(f"artifacts/{wanted}", any_store.read(f"artifacts/{other}"))
    with pytest.raises(ArtifactError, match="serves other bytes"):
        fetch_artifact(any_store, wanted, tmp_path / "fetched")
    any_store.put(f"artifacts/{wanted}", b"../../etc/passwd")
    with pytest.raises(ArtifactError, match="serves other bytes"):
        fetch_artifact(any_store, wanted, tmp_path / "fetched")


def test_a_file_that_the_store_lost_is_named(any_store: ObjectStore, tmp_path: Path) -> None:
    wanted = artifact(tmp_path / "built")
    put_artifact(any_store, tmp_path / "built")
    any_store.delete(f"files/{hashlib.sha256(WEIGHTS).hexdigest()}")
    with pytest.raises(ArtifactError, match=r"has lost model\.safetensors"):
        fetch_artifact(any_store, wanted, tmp_path / "fetched")
    put_artifact(any_store, tmp_path / "built")
    fetch_artifact(any_store, wanted, tmp_path / "fetched")


@pytest.mark.parametrize(
    ("fault", "reason"), [("full", "QuotaExceeded"), ("cut", "cannot store"), ("slow", "cannot look at")]
)
def test_a_store_that_fails_in_an_upload_is_one_error_and_nothing_half_is_whole(
    store: ObjectStore, door: Door, tmp_path: Path, fault: str, reason: str
) -> None:
    wanted = artifact(tmp_path / "built")
    hasty = open_store(store.url, 1.0 if fault == "slow" else 10.0)
    door.fault = fault
    with pytest.raises(StorageError, match=reason) as raised:
        put_artifact(hasty, tmp_path / "built")
    assert "\n" not in str(raised.value)
    door.fault = ""
    with pytest.raises(NotFoundError, match="never stored, or not wholly"):
        fetch_artifact(store, wanted, tmp_path / "fetched")
    put_artifact(store, tmp_path / "built")  # goes on
    fetch_artifact(store, wanted, tmp_path / "fetched")
    assert files(tmp_path / "fetched") == files(tmp_path / "built")


def test_a_connection_that_is_lost_once_is_tried_again(store: ObjectStore, door: Door, tmp_path: Path) -> None:
    wanted = artifact(tmp_path / "built")
    put_artifact(store, tmp_path / "built")
    door.fault = "drop"
    fetch_artifact(store, wanted, tmp_path / "fetched")
    assert door.fault == ""
    assert is_complete(tmp_path / "fetched")


def test_a_disk_without_room_is_said_before_anything_is_fetched(
    any_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = artifact(tmp_path / "built")
    put_artifact(any_store, tmp_path / "built")
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StorageError, match=r"takes 0\.00 GB, and 0\.00 GB are free"):
        fetch_artifact(any_store, wanted, tmp_path / "fetched")
    assert not (tmp_path / ".fetched.fetching").exists()


def test_a_bucket_that_is_not_there_is_named(store: ObjectStore, tmp_path: Path) -> None:
    artifact(tmp_path / "built")
    with pytest.raises(StorageError, match=r"s3://no-such-one has no such bucket"):
        put_artifact(open_store("s3://no-such-one", PATIENCE_SECONDS), tmp_path / "built")


def test_only_what_nobody_wants_is_collected_and_only_when_it_is_old(any_store: ObjectStore, tmp_path: Path) -> None:
    kept, gone = artifact(tmp_path / "kept", number=1), artifact(tmp_path / "gone", number=2)
    for name in ("kept", "gone"):
        put_artifact(any_store, tmp_path / name)
    any_store.put("files/" + "f" * 64, b"of an upload that broke off")
    assert collect(any_store, [kept], utc_now()).artifacts == 0
    later = utc_now() + GRACE + timedelta(minutes=1)
    done = collect(any_store, [kept], later)
    assert (done.artifacts, done.files) == (1, 3)  # the other config and manifest, and the stray
    with pytest.raises(NotFoundError, match="never stored"):
        fetch_artifact(any_store, gone, tmp_path / "gone again")
    fetch_artifact(any_store, kept, tmp_path / "fetched")
    assert collect(any_store, [kept], later).files == 0


def settings_with(settings: Settings, artifacts: str) -> Settings:
    return load_settings(settings.path, [f"storage.artifacts={artifacts}"], environ={})


def test_a_version_comes_from_the_store_to_where_its_row_says(settings: Settings, tmp_path: Path) -> None:
    here = settings_with(settings, "shared").storage
    path = tmp_path / "built"
    version = replace(published_version("version_1"), path=str(path), manifest_hash=artifact(path))
    share(here, path)
    built = files(path)
    shutil.rmtree(path)
    with pytest.raises(ArtifactError, match=r"version_1 has no files at .*storage\.artifacts names no store"):
        bring(settings.storage, version)
    bring(here, version)
    assert files(path) == built
    shutil.rmtree(path)
    with pytest.raises(ArtifactError, match=r"version_1 has no files at .*never stored"):
        bring(here, replace(version, manifest_hash="0" * 64))


@pytest.mark.parametrize("url", ["gs://bucket", "s3://", "http://host/bucket"])
def test_a_url_that_is_no_store_is_refused(settings: Settings, url: str) -> None:
    with pytest.raises(ConfigError, match=r"storage\.artifacts"):
        settings_with(settings, url)


def test_a_folder_begins_at_the_settings_file(settings: Settings, tmp_path: Path) -> None:
    assert settings_with(settings, "shared").storage.artifacts == str(tmp_path / "shared")


def test_versions_are_stored_and_fetched_by_a_verb(
    settings: Settings, ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "built"
    version: ModelVersion = replace(published_version("version_1"), path=str(path), manifest_hash=artifact(path))
    add_with_parents(ledger, version)
    flags = ["--config", str(settings.path)]
    assert main(["artifacts", "put", *flags]) == 1
    assert "storage.artifacts names no place" in capsys.readouterr().err
    flags += ["--set", "storage.artifacts=shared"]
    assert main(["artifacts", "put", *flags]) == 0
    built = files(path)
    shutil.rmtree(path)
    assert main(["artifacts", "fetch", "v1", *flags]) == 0
    assert files(path) == built
    assert f"version_1 is here, from {tmp_path / 'shared'}" in capsys.readouterr().out


def test_gc_leaves_in_the_store_what_published_versions_serve(
    settings: Settings, ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--config", str(settings.path), "--store"]
    assert main(["gc", *flags]) == 1
    assert "storage.artifacts names no store to collect in" in capsys.readouterr().err
    kept, gone = artifact(tmp_path / "kept", number=1), artifact(tmp_path / "gone", number=2)
    add_with_parents(ledger, replace(published_version("version_1"), path=str(tmp_path / "kept"), manifest_hash=kept))
    shared = open_store(str(tmp_path / "shared"), PATIENCE_SECONDS)
    for name in ("kept", "gone"):
        put_artifact(shared, tmp_path / name)
    for path in (tmp_path / "shared").rglob("*"):
        os.utime(path, (0, 0))
    flags += ["--set", "storage.artifacts=shared"]
    assert main(["gc", *flags, "--dry-run"]) == 0
    assert "1 artifacts, 2 files" in capsys.readouterr().out
    fetch_artifact(shared, gone, tmp_path / "not gone yet")
    assert main(["gc", *flags]) == 0
    with pytest.raises(NotFoundError, match="never stored"):
        fetch_artifact(shared, gone, tmp_path / "gone again")
    fetch_artifact(shared, kept, tmp_path / "fetched")
