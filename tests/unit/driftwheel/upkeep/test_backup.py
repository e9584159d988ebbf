"""A backup is the loop of one moment, taken while it runs; restored here or elsewhere it is the same loop."""

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from driftwheel.cli.main import main
from driftwheel.errors import ArtifactError, ConflictError
from driftwheel.files.artifacts import writing
from driftwheel.records.nouns import Dataset, ModelVersion, Traffic
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.store.sqlite import safe_sqlite_module
from driftwheel.store.tables import metadata
from driftwheel.upkeep.backup import FOLDER, write_backup
from driftwheel.upkeep.restoring import checked_backup, restore_backup
from driftwheel.upkeep.storage_files import only_upkeep
from driftwheel.upkeep.verifying import verify_loop
from tests.support.whole_loop import add_version, request_row


@pytest.fixture
def loop(settings: Settings) -> Iterator[Ledger]:
    """A loop with a dataset, a published version and some requests, its files in the storage folder."""
    with closing(Ledger(settings.database_url, root=settings.root)) as ledger:
        version = add_version(ledger, settings)
        ledger.add(*(request_row(version.id, n) for n in range(20)))
        with closing(safe_sqlite_module().connect(str(settings.root / "worker.db"))) as worker:
            worker.execute("PRAGMA journal_mode=WAL")
            worker.execute("CREATE TABLE steps (name TEXT)")
            worker.execute("INSERT INTO steps VALUES ('finetune')")
            worker.commit()
        (settings.logs).mkdir(exist_ok=True)
        (settings.logs / "gateway.log").write_text("users' words")
        yield ledger


def rows_of(ledger: Ledger) -> dict[str, list[tuple[object, ...]]]:
    """Return every stored row, as it is stored but for its order."""
    with ledger.read() as connection:
        return {
            table.name: sorted(
                (tuple(map(repr, row)) for row in connection.execute(sa.select(table))),
                key=repr,
            )
            for table in metadata.sorted_tables
        }


@pytest.mark.every_database
def test_what_is_restored_elsewhere_is_the_same_loop(loop: Ledger, settings: Settings, tmp_path: Path) -> None:
    done = write_backup(settings.storage, loop, settings.root, tmp_path / "backup")
    is_file = settings.storage.database_url is None
    assert done.databases == (("worker.db", "ledger.db") if is_file else ("ledger.db",))
    moved = tmp_path / "moved" / "storage"
    restore_backup(tmp_path / "backup", moved, None)
    with closing(Ledger(f"sqlite:///{moved / 'ledger.db'}", root=moved)) as restored:
        here, there = rows_of(loop), rows_of(restored)
        told = json.dumps(here).replace(str(settings.root), str(moved))
        assert json.loads(told) == json.loads(json.dumps(there))
        assert restored.count(Traffic, project="support") == 20
        version = restored.newest(ModelVersion, "support")
        assert Path(version.path).is_relative_to(moved)
        assert verify_loop(restored, "support", moved).faults == ()
    if is_file:
        with closing(safe_sqlite_module().connect(str(moved / "worker.db"))) as worker:
            assert worker.execute("SELECT name FROM steps").fetchall() == [("finetune",)]
    assert not (moved / "logs").exists()
    assert moved.stat().st_mode & 0o777 == 0o700


def test_rows_that_are_written_meanwhile_are_there_or_not_and_nothing_is_torn(
    loop: Ledger, settings: Settings, tmp_path: Path
) -> None:
    version, stop, written = loop.newest(ModelVersion, "support"), threading.Event(), [20]

    def write() -> None:
        while not stop.is_set():
            loop.add(request_row(version.id, written[0]), request_row(version.id, written[0] + 1))
            written[0] += 2

    writer = threading.Thread(target=write)
    writer.start()
    try:
        before = written[0]
        write_backup(settings.storage, loop, settings.root, tmp_path / "backup")
        after = written[0] + 2
    finally:
        stop.set()
        writer.join()
    restore_backup(tmp_path / "backup", tmp_path / "moved", None)
    with closing(Ledger(f"sqlite:///{tmp_path / 'moved' / 'ledger.db'}", root=tmp_path / "moved")) as restored:
        count = restored.count(Traffic, project="support")
        assert before <= count <= after
        assert count % 2 == 0  # two rows of one transaction
        assert verify_loop(restored, "support", tmp_path / "moved").faults == ()


@pytest.mark.parametrize("spoil", ["change", "remove", "add", "manifest"])
def test_a_backup_of_which_a_byte_differs_is_refused(
    loop: Ledger, settings: Settings, tmp_path: Path, spoil: str
) -> None:
    backup = tmp_path / "backup"
    write_backup(settings.storage, loop, settings.root, backup)
    checked_backup(backup)
    file = backup / FOLDER / "ledger.db"
    if spoil == "change":
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    elif spoil == "remove":
        file.unlink()
    elif spoil == "add":
        (backup / FOLDER / "more").write_text("")
    else:
        (backup / "manifest.json").unlink()
    with pytest.raises(ArtifactError):
        restore_backup(backup, tmp_path / "moved", None)
    assert not (tmp_path / "moved").exists()


def test_nothing_that_is_there_is_overwritten(loop: Ledger, settings: Settings, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    with pytest.raises(ConflictError, match="lies in the storage folder"):
        write_backup(settings.storage, loop, settings.root, settings.root / "backup")
    write_backup(settings.storage, loop, settings.root, backup)
    with pytest.raises(ConflictError, match="is there already"):
        write_backup(settings.storage, loop, settings.root, backup)
    with pytest.raises(ConflictError, match="not empty"):
        restore_backup(backup, settings.root, None)
    with only_upkeep(settings.root), pytest.raises(ConflictError, match="another backup, restore or gc"):
        write_backup(settings.storage, loop, settings.root, tmp_path / "second")


def test_every_whole_file_is_in_it_whatever_its_name_and_wherever_it_lies(
    loop: Ledger, settings: Settings, tmp_path: Path
) -> None:
    assert settings.root.name.startswith("."), "as it does by default"
    elsewhere = tmp_path / "other disk" / "model"
    with writing(elsewhere, {}) as made:
        (made / ".gitattributes").write_text("x")
        (made / "weights.safetensors").write_text("w")
    (settings.root / "artifacts" / "linked").symlink_to(elsewhere)
    (elsewhere / "loop").symlink_to(settings.root / "artifacts")
    for name in ("notes/mine.json", "artifacts/.half.123/weights.safetensors", "runs/.job.json.12-34"):
        (settings.root / name).parent.mkdir(exist_ok=True)
        (settings.root / name).write_text("{}")
    write_backup(settings.storage, loop, settings.root, tmp_path / "backup")
    names = {name.removeprefix(f"{FOLDER}/") for name in checked_backup(tmp_path / "backup").files}
    assert {"artifacts/linked/.gitattributes", "artifacts/linked/weights.safetensors", "notes/mine.json"} <= names
    assert not [name for name in names if "half" in name or "12-34" in name or name.count("linked") > 1]


def test_a_restore_takes_nothing_from_another_one_that_runs(loop: Ledger, settings: Settings, tmp_path: Path) -> None:
    write_backup(settings.storage, loop, settings.root, tmp_path / "backup")
    running, killed = tmp_path / ".moved.restored.1", tmp_path / ".moved.restored.99999999"
    running.mkdir()
    killed.mkdir()
    (tmp_path / "moved").mkdir()
    restore_backup(tmp_path / "backup", tmp_path / "moved", None)
    assert (running.exists(), killed.exists()) == (True, False)


def test_a_folder_that_is_no_backup_is_refused(tmp_path: Path) -> None:
    with writing(tmp_path / "model", {}) as made:
        (made / "x").write_text("x")
    with pytest.raises(ArtifactError, match="is no backup"):
        checked_backup(tmp_path / "model")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_server_gets_its_rows_back_and_keeps_those_that_it_has(
    loop: Ledger, settings: Settings, tmp_path: Path, postgres_server: object
) -> None:
    write_backup(settings.storage, loop, settings.root, tmp_path / "backup")
    with pytest.raises(ConflictError, match="has rows"):
        restore_backup(tmp_path / "backup", tmp_path / "moved", settings.database_url)
    empty = postgres_server.new_database()  # type: ignore[attr-defined]  # the fixture's own class
    restore_backup(tmp_path / "backup", tmp_path / "moved", empty)
    with closing(Ledger(empty, root=tmp_path / "moved")) as restored:
        assert restored.count(Traffic, project="support") == 20
        assert verify_loop(restored, "support", tmp_path / "moved").faults == ()
    assert not (tmp_path / "moved" / "ledger.db").exists()


def test_the_verbs_say_what_they_did(
    loop: Ledger, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ["--config", str(settings.path)]
    assert main(["backup", str(tmp_path / "backup"), *config]) == 0
    assert main(["verify", str(tmp_path / "backup"), *config]) == 0
    assert main(["restore", str(tmp_path / "backup"), "--to", str(tmp_path / "moved"), *config]) == 0
    assert main(["verify", *config]) == 0
    told = capsys.readouterr().out
    assert "wrote worker.db, ledger.db and" in told
    assert f"set storage.root to {tmp_path / 'moved'}" in told
    assert "0 faults" in told


@pytest.mark.parametrize("spoil", ["artifact", "dataset", "alias", "reference", "worker"])
def test_each_kind_of_damage_is_found(loop: Ledger, settings: Settings, spoil: str) -> None:
    assert verify_loop(loop, "support", settings.root).faults == ()
    version, dataset = loop.newest(ModelVersion, "support"), loop.newest(Dataset, "support")
    if spoil in ("artifact", "dataset"):
        folder = Path(version.path if spoil == "artifact" else dataset.path)
        file = next(path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "manifest.json")
        file.write_bytes(file.read_bytes() + b"x")
    elif spoil == "worker":
        (settings.root / "worker.db").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    else:
        with closing(safe_sqlite_module().connect(str(settings.root / "ledger.db"))) as connection:
            connection.execute("PRAGMA foreign_keys=OFF")
            if spoil == "alias":
                connection.execute("UPDATE version SET status = 'rejected'")
            else:
                connection.execute("DELETE FROM run")
            connection.commit()
    faults = verify_loop(loop, "support", settings.root).faults
    assert len(faults) >= 1
    assert main(["verify", "--config", str(settings.path)]) == 1
