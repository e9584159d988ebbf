"""`driftwheel db` says where a database stands, and brings it up to date."""

import json

import pytest

from driftwheel.cli.main import main
from driftwheel.settings.settings import Settings
from driftwheel.store.migrations import newest_revision
from tests.support.kept_databases import restore

pytestmark = pytest.mark.every_database


def said(capsys: pytest.CaptureFixture[str], settings: Settings, verb: str) -> dict[str, object]:
    assert main(["db", verb, "--config", str(settings.path), "--json"]) == 0
    answer: dict[str, object] = json.loads(capsys.readouterr().out)
    return answer


def test_status_only_looks_and_upgrade_brings_up_to_date(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, settings, "status")["standing"] == "empty"
    assert not (settings.root / "ledger.db").exists()
    restore(1, settings.database_url)
    for _ in range(2):
        assert said(capsys, settings, "status")["standing"] == "unnumbered"
    done = said(capsys, settings, "upgrade")
    assert (done["is_upgraded"], done["old"], done["new"]) == (True, 0, newest_revision())
    assert bool(done["backup"]) == settings.database_url.startswith("sqlite")
    assert said(capsys, settings, "upgrade")["is_upgraded"] is False
    assert said(capsys, settings, "status") | {"ledger": ""} == {
        "ledger": "",
        "standing": "current",
        "revision": newest_revision(),
        "newest": newest_revision(),
        "differences": [],
    }


def test_the_sentences_name_the_revision_and_the_copy(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    restore(1, settings.database_url)
    assert main(["db", "upgrade", "--config", str(settings.path)]) == 0
    assert f"upgraded from revision 0 to {newest_revision()}" in capsys.readouterr().out
    assert main(["db", "status", "--config", str(settings.path)]) == 0
    newest = newest_revision()
    assert f"revision {newest} of {newest}; it is up to date" in capsys.readouterr().out
