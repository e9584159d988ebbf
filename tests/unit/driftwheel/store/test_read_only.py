"""A loop that may only be read, such as a mounted backup, is read: and what would write says so in one line."""

import os
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from driftwheel.cli.main import main
from driftwheel.errors import StorageError
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger

READING = (["status"], ["versions"], ["runs"], ["decisions"], ["history"], ["traffic", "show"], ["keys", "list"])


@pytest.fixture
def only_read(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the system say that nothing in the storage folder may be written; who runs the tests may be root."""
    may = os.access

    def access(path: Any, mode: int, **flags: Any) -> bool:
        is_inside = Path(path).absolute().is_relative_to(settings.root)
        return not (is_inside and mode & os.W_OK) and may(path, mode, **flags)

    monkeypatch.setattr(os, "access", access)
    return settings.root / "ledger.db"


def test_a_folder_that_may_only_be_read_is_read(
    settings: Settings, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(Ledger(settings.database_url, root=settings.root)) as ledger:
        ledger.set_switch("support", "paused", "yes")
    file = request.getfixturevalue("only_read")
    before = {path.name for path in settings.root.iterdir()}
    for verb in READING:
        assert main([*verb, "--config", str(settings.path)]) == 0, verb
    assert "PAUSED" in capsys.readouterr().out
    assert main(["resume", "--config", str(settings.path)]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "refused a write: attempt to write a readonly database; check the path and its rights" in said
    assert {path.name for path in settings.root.iterdir()} == before, f"{file} got side files"


def test_what_a_running_loop_has_not_yet_moved_into_the_file_is_read_too(
    settings: Settings, request: pytest.FixtureRequest
) -> None:
    with closing(Ledger(settings.database_url, root=settings.root)) as running:
        running.set_switch("support", "first", "1")
        file = request.getfixturevalue("only_read")
        with closing(Ledger(settings.database_url, root=settings.root)) as reader:
            assert file.with_name("ledger.db-wal").stat().st_size > 0
            running.set_switch("support", "second", "2")
            assert [reader.switch("support", name) for name in ("first", "second")] == ["1", "2"]
            with pytest.raises(StorageError, match="readonly"):
                reader.set_switch("support", "third", "3")
