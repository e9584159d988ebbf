"""No other user of the machine can read what the loop writes."""

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import structlog

from driftwheel.cli.command import open_ledger
from driftwheel.errors import ConfigError
from driftwheel.files.private_files import keep_private
from driftwheel.settings.settings import Settings

MAKE = """
import argparse, pathlib, sys
from driftwheel.files.artifacts import writing
from driftwheel.cli.process import run_command

def make(arguments):
    folder = pathlib.Path(sys.argv[1])
    with writing(folder / "dataset", {}) as made:
        (made / "train.jsonl").write_text("{}")
    with (folder / "x.log").open("w") as log:
        log.write("x")

sys.exit(run_command("make", make, argparse.Namespace()))
"""


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.rglob("*")}


def test_what_a_command_writes_is_its_users_alone(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", MAKE, str(tmp_path)]
    subprocess.run(argv, check=True, timeout=60, preexec_fn=lambda: os.umask(0o022))
    assert modes(tmp_path) == {"dataset": 0o700, "train.jsonl": 0o600, "manifest.json": 0o600, "x.log": 0o600}


@pytest.fixture
def reachable(tmp_path: Path) -> Path:
    """A folder that every user of the machine can get to."""
    for folder in (tmp_path, *tmp_path.parents):
        if not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o001)
    return tmp_path


def test_a_storage_folder_that_others_can_read_is_closed_and_told(settings: Settings, reachable: Path) -> None:
    settings.root.mkdir()
    settings.root.chmod(0o755)
    with structlog.testing.capture_logs() as logged, closing(open_ledger(settings)):
        pass
    assert settings.root.stat().st_mode & 0o777 == 0o750  # a group may: containers share a volume by one
    assert [entry["folder"] for entry in logged] == [str(settings.root)]


def test_a_private_storage_folder_stays_as_it_is(settings: Settings, reachable: Path) -> None:
    with structlog.testing.capture_logs() as logged, closing(open_ledger(settings)):
        pass
    assert settings.root.stat().st_mode & 0o777 == 0o700
    assert logged == []


def test_an_open_folder_of_somebody_else_is_refused(reachable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = reachable / "theirs"
    folder.mkdir()
    folder.chmod(0o755)

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(ConfigError, match=r"every user .* can read .*theirs.*chmod o-rwx"):
        keep_private(folder)


def test_a_storage_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"set storage\.root"):
        keep_private(tmp_path / "file" / "storage")
