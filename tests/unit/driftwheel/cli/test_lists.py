"""Versions, runs, decisions and deployments are listed one line each, or as JSON for programs."""

import json

import pytest

from driftwheel.cli.main import main
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from tests.support.dashboard_browser import seed_module


@pytest.fixture
def ids(settings: Settings, ledger: Ledger) -> dict[str, str]:
    return dict(seed_module().fill(settings, ledger))


@pytest.mark.parametrize(
    ("verb", "lines", "said"),
    [
        ("versions", 3, "rejected"),
        ("runs", 2, "loss 0.35"),
        ("decisions", 3, "awaiting approval"),
        ("deployments", 3, "canary"),
    ],
)
def test_the_newest_are_listed(
    verb: str, lines: int, said: str, ids: dict[str, str], settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--config", str(settings.path)]
    assert main([verb, *flags]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == lines
    assert said in "\n".join(shown)
    assert main([verb, *flags, "--json", "--last", "1"]) == 0
    (record,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert record["project"] == settings.project
    assert record["id"] in shown[0], "both begin with the newest"


def test_the_live_version_is_marked(
    ids: dict[str, str], settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["versions", "--config", str(settings.path)])
    live = [line for line in capsys.readouterr().out.splitlines() if line.endswith("live")]
    assert [ids["v1"] in line for line in live] == [True]


@pytest.mark.parametrize(
    ("verb", "following"),
    [("versions", "driftwheel publish"), ("decisions", "driftwheel check (the monitor decides at each full window)")],
)
def test_an_empty_list_names_the_command_that_works_next(
    settings: Settings, ledger: Ledger, capsys: pytest.CaptureFixture[str], verb: str, following: str
) -> None:
    assert main([verb, "--config", str(settings.path)]) == 0
    assert capsys.readouterr().err.endswith(f"there are none yet; next: {following}\n")
