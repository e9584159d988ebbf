"""`driftwheel keys` from a shell: a key is seen once, and an older database gets its table."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from driftwheel.callers.api_keys import create_key, is_weak, rotate_key, state_of_keys
from driftwheel.cli.main import main
from driftwheel.errors import ConfigError, ConflictError
from driftwheel.identity import utc_now
from driftwheel.records.bookkeeping import ApiKey, Scope
from driftwheel.settings.settings import Settings
from driftwheel.store.database import connect
from driftwheel.store.ledger import Ledger
from tests.support.kept_databases import restore


def run(settings: Settings, capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, object]]:
    assert main(["keys", *arguments, "--config", str(settings.path), "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_key_is_printed_once_and_stands_nowhere(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    (made,) = run(settings, capsys, "create", "bot", "--scopes", "ask,read", "--requests-per-minute", "60")
    key = str(made["key"])
    assert (made["name"], made["scopes"], made["requests_per_minute"]) == ("bot", "ask,read", 60)
    assert key.startswith("dwk_")
    assert not is_weak(key)
    (listed,) = run(settings, capsys, "list")
    assert "key" not in listed
    for file in settings.root.rglob("*"):
        assert key.encode() not in (file.read_bytes() if file.is_file() else b"")
    (rotated,) = run(settings, capsys, "rotate", "bot", "--grace-hours", "1")
    assert rotated["key"] != key
    assert rotated["old_key_ends_at"]
    assert [row["status"] for row in run(settings, capsys, "disable", "bot")] == ["disabled"]


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["disable", "nobody"], 1), (["create", "Bad Name"], 1), (["create", "x", "--scopes", "root"], 2)],
)
def test_what_cannot_be_done_is_an_error(settings: Settings, arguments: list[str], status: int) -> None:
    try:
        got = main(["keys", *arguments, "--config", str(settings.path)])
    except SystemExit as error:
        got = int(error.code or 0)
    assert got == status


@pytest.mark.parametrize(
    "arguments",
    [
        *(["create", "bot", f"--expires-days={days}"] for days in ("nan", "inf", "-1", "0", "1e12", "soon")),
        *(["rotate", "bot", f"--grace-hours={hours}"] for hours in ("nan", "inf", "-1", "1e12")),
        *(["create", "bot", f"--{limit}={'9' * 5000}"] for limit in ("requests-per-minute", "max-concurrency")),
        ["create", "bot", "--tokens-per-minute=-5"],
    ],
    ids=lambda arguments: arguments[-1][:28],
)
def test_a_number_that_makes_no_sense_is_one_line_and_makes_no_key(
    settings: Settings, ledger: Ledger, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["keys", *arguments, "--config", str(settings.path)])
    last = capsys.readouterr().err.splitlines()[-1]
    assert (ended.value.code, "must be a" in last, " from " in last) == (2, True, True)
    assert len(last) < 250
    assert ledger.count(ApiKey) == 0


def test_no_key_is_made_that_is_over_already(ledger: Ledger) -> None:
    with pytest.raises(ConfigError, match="which is over"):
        create_key(ledger, "support", "bot", [Scope.ASK], expires_at=utc_now() - timedelta(seconds=1))
    with pytest.raises(ConfigError, match="at most 1000000000000000"):
        create_key(ledger, "support", "bot", [Scope.ASK], requests_per_minute=2**63)


def test_a_name_is_taken_once_and_a_limit_is_at_least_one(ledger: Ledger) -> None:
    record, _ = create_key(ledger, "support", "bot", [Scope.ASK])
    with pytest.raises(ConflictError, match="rotate it"):
        create_key(ledger, "support", "bot", [Scope.ASK])
    with pytest.raises(ConfigError, match="at least 1"):
        create_key(ledger, "support", "two", [Scope.ASK], max_concurrency=0)
    rotate_key(ledger, "support", "bot", timedelta(hours=1))
    with pytest.raises(ConflictError):
        ledger.change(record, digest="0")


def test_the_state_changes_with_every_change(ledger: Ledger) -> None:
    states = [state_of_keys(ledger, "support")]
    create_key(ledger, "support", "bot", [Scope.ASK])
    states.append(state_of_keys(ledger, "support"))
    rotate_key(ledger, "support", "bot", timedelta(0))
    states.append(state_of_keys(ledger, "support"))
    assert len(set(states)) == 3


def test_an_older_database_gets_the_table(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    restore(1, url)
    old = connect(url)
    with old.begin() as connection:
        connection.exec_driver_sql("DROP TABLE api_key")
    old.dispose()
    ledger = Ledger(url)
    create_key(ledger, "support", "bot", [Scope.ASK])
    ledger.close()
