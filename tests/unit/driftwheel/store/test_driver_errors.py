"""What a database refuses is one line, with what to do."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from driftwheel.cli.main import main
from driftwheel.errors import StorageError
from driftwheel.records.nouns import Traffic
from driftwheel.settings.settings import Settings
from driftwheel.store.driver_errors import refusal
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.appender import Appender
from tests.support.postgres_server import PostgresServer
from tests.support.versions import answered_request

PAGE_BYTES = 4096
ROW = answered_request("req_0", version_id="v", route="r", prompt="p" * 3000, answer="a")


def damage(path: Path) -> None:
    """Overwrite the pages that hold rows, and leave the first ones with the schema."""
    pages = path.stat().st_size // PAGE_BYTES
    with path.open("r+b") as file:
        for page in range(pages // 2, pages):
            file.seek(page * PAGE_BYTES)
            file.write(b"\xff" * PAGE_BYTES)


def test_a_damaged_file_is_one_line_that_says_how_to_restore(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(Ledger(settings.database_url)) as ledger:
        ledger.add(*(replace(ROW, id=f"req_{n}") for n in range(200)))
    damage(settings.root / "ledger.db")
    said = r"the file is damaged: stop every program and restore its newest copy \(docs/howto/backup.md\)$"
    with closing(Ledger(settings.database_url)) as ledger:
        with pytest.raises(StorageError, match=rf"refused a read: .*malformed; {said}"):
            ledger.find(Traffic)
        with pytest.raises(StorageError, match=rf"refused a write: .*malformed; {said}"):
            ledger.add(replace(ROW, id="req_new"))
        appender = Appender(ledger, Traffic)
        with pytest.raises(StorageError, match=rf"refused a write: .*malformed; {said}"):
            appender.add([replace(ROW, id="req_new")])
        appender.close()
    assert main(["traffic", "export", str(settings.root / "t.jsonl"), "--config", str(settings.path)]) == 1
    told = capsys.readouterr().err.splitlines()
    assert [line for line in told if line.startswith("error: ")] == told[-1:]
    assert "backup.md" in told[-1]


def test_what_postgresql_refuses_is_one_line_with_the_right_advice(postgres_server: PostgresServer) -> None:
    url = postgres_server.new_database()
    Ledger(url).close()
    cases = [
        (f"{url}_gone", "does not exist; create the database"),
        (url.replace("driftwheel@", "nobody@"), "does not exist; "),
        ("postgresql://d@/none?host=127.0.0.1:1&host=127.0.0.2:1", "running there?"),
    ]
    for wrong, words in cases:
        with pytest.raises(StorageError) as refused:
            Ledger(wrong)
        assert words in str(refused.value)
        assert "\n" not in str(refused.value)
    with closing(Ledger(f"{url}?options=-c%20default_transaction_read_only%3Don")) as ledger:
        with pytest.raises(StorageError, match=r"read-only transaction; name the server that takes writes"):
            ledger.add(ROW)
        with ledger.read() as connection:
            connection.exec_driver_sql("SET default_transaction_read_only = off")
    with closing(Ledger(url)) as ledger:
        with ledger.write() as connection:
            connection.exec_driver_sql("ALTER TABLE req RENAME TO gone")
        with pytest.raises(StorageError, match=r"refused a read: .*`driftwheel db status` says how the tables differ"):
            ledger.count(Traffic)


def test_a_long_complaint_is_cut_and_put_on_one_line() -> None:
    told = refusal(RuntimeError("connection failed:\n\t" + "host x refused\n" * 100))
    assert told.endswith("...; is the server running there?")
    assert len(told) < 340
    assert "\n" not in told
