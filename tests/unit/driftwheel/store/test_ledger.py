"""Records go in and come out unchanged, and a lost race is an error."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from driftwheel.errors import ConfigError, ConflictError, NotFoundError, RecordError, StorageError
from driftwheel.identity import new_id
from driftwheel.records.check_details import DecisionBasis
from driftwheel.records.nouns import NOUNS, DecisionStatus, DecisionVerdict, RetrainDecision, Traffic
from driftwheel.settings.settings import Settings
from driftwheel.store.any_of import any_of
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES

pytestmark = pytest.mark.every_database
MANY = 260_000
"""More than PostgreSQL's 65,535 parameters, and than the 250,000 of Debian's SQLite."""


def decision(id: str = "decision_1", **changes: object) -> RetrainDecision:
    record = RetrainDecision(
        id=id,
        project="support",
        verdict=DecisionVerdict.RETRAIN,
        status=DecisionStatus.OPEN,
        trigger="policy",
        remedy="retrain",
        reasons=["quality fell"],
        known=DecisionBasis(fresh_labels=3),
    )
    return replace(record, **changes)  # type: ignore[arg-type]


def test_there_are_seven_nouns_and_each_has_its_table() -> None:
    assert [TABLES[noun].name for noun in NOUNS] == [
        "dataset",
        "run",
        "version",
        "deployment",
        "req",
        "signal",
        "decision",
    ]


def test_a_record_comes_back_as_it_was(ledger: Ledger) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
    written = decision(created_at=at)
    ledger.add(written)
    assert ledger.get(RetrainDecision, "decision_1") == written


def test_records_survive_closing_and_opening_again(settings: Settings, ledger: Ledger) -> None:
    ledger.add(decision())
    ledger.close()
    with closing(Ledger(settings.database_url)) as again:
        assert again.get(RetrainDecision, "decision_1").reasons == ["quality fell"]


def test_what_a_row_holds_is_not_in_the_error_that_says_why_it_was_refused(ledger: Ledger) -> None:
    with pytest.raises(RecordError, match=r"decision_1: decision\.known cannot be written as JSON") as refused:
        known = DecisionBasis(verdicts={"not JSON": object()})  # type: ignore[dict-item]  # that is the point
        ledger.add(decision(error="jo@example.com", known=known))
    assert "jo@example.com" not in str(refused.value)


def test_a_missing_id_is_named(ledger: Ledger) -> None:
    with pytest.raises(NotFoundError, match="decision_9"):
        ledger.get(RetrainDecision, "decision_9")


def test_the_same_id_twice_is_refused_and_nothing_of_the_batch_is_written(ledger: Ledger) -> None:
    ledger.add(decision("a"))
    with pytest.raises(ConflictError):
        ledger.add(decision("b"), decision("a"))
    assert ledger.count(RetrainDecision) == 1


def test_find_filters_sorts_newest_first_and_limits(ledger: Ledger) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    ledger.add(*(decision(f"d{n}", created_at=start + timedelta(seconds=n)) for n in range(5)))
    ledger.add(decision("other", project="else"))
    assert [d.id for d in ledger.find(RetrainDecision, project="support", limit=2)] == ["d4", "d3"]
    assert [d.id for d in ledger.find(RetrainDecision, id=["d1", "d2"], newest_first=False)] == ["d1", "d2"]


def test_a_query_that_was_asked_before_is_answered_for_the_values_of_now(ledger: Ledger) -> None:
    """The same look-up is put together once, and must not keep what it was asked for the first time."""
    ledger.add(decision("a", trigger="x"), decision("b", trigger="y"), decision("c", trigger="y"))
    wanted = [
        ("x", 1, "a"),
        ("y", 1, "c"),
        ("y", 2, "cb"),
        ("y", None, "cb"),
        ("y", 0, ""),
        ("z", 9, ""),
        ("\0", 9, ""),
    ]
    for trigger, limit, ids in wanted * 2:
        found = ledger.find(RetrainDecision, trigger=trigger, run_id=None, limit=limit)
        assert "".join(d.id for d in found) == ids
        found = ledger.find(RetrainDecision, trigger=trigger, limit=limit)
        assert "".join(d.id for d in found) == ids
    assert [d.id for d in ledger.find(RetrainDecision, trigger="y", limit=1, offset=1)] == ["b"]
    assert [d.id for d in ledger.find(RetrainDecision, TABLES[RetrainDecision].c.id > "b", trigger="y")] == ["c"]
    assert ledger.find(RetrainDecision, trigger=["x"], without=("error",), limit=1)[0].id == "a"


def test_a_list_may_hold_more_values_than_a_statement_has_parameters(ledger: Ledger) -> None:
    ledger.add(decision("d1"), decision("d2"), decision("d'3"))
    many = [f"none_{n}" for n in range(MANY)]
    found = ledger.find(RetrainDecision, id=[*many, "d'3", "d1"], project="support", newest_first=False)
    assert {d.id for d in found} == {"d1", "d'3"}
    assert ledger.count(RetrainDecision, id=many) == 0
    with ledger.write() as connection:
        table = TABLES[RetrainDecision]
        changed = connection.execute(sa.update(table).where(any_of(table.c.id, [*many, "d2"])).values(error="e"))
    assert changed.rowcount == 1


def test_only_one_of_two_writers_takes_a_decision(ledger: Ledger) -> None:
    ledger.add(decision())
    read_by_both = ledger.get(RetrainDecision, "decision_1")
    ledger.change(read_by_both, status=DecisionStatus.RUNNING)
    with pytest.raises(ConflictError, match="changed since it was read"):
        ledger.change(read_by_both, status=DecisionStatus.REFUSED)
    assert ledger.get(RetrainDecision, "decision_1").status is DecisionStatus.RUNNING


def test_a_switch_keeps_its_last_value(ledger: Ledger) -> None:
    assert ledger.switch("support", "paused") == ""
    ledger.set_switch("support", "paused", "yes")
    ledger.set_switch("support", "paused", "")
    assert ledger.switch("support", "paused", "default") == ""


def test_of_many_who_set_or_count_up_a_switch_first_at_once_none_is_refused(ledger: Ledger) -> None:
    def set_it(number: int) -> None:
        ledger.set_switch("support", "paused", str(number))
        with ledger.write() as connection:
            ledger.count_up_with(connection, "support", "rows", number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(set_it, range(1, 33)))
    assert int(ledger.switch("support", "paused")) in range(1, 33)
    assert ledger.switch("support", "rows") == str(sum(range(1, 33)))


def test_the_database_syncs_every_commit_and_its_sqlite_has_no_wal_reset_bug(ledger: Ledger) -> None:
    with ledger.read() as connection:
        if connection.dialect.name == "postgresql":
            assert connection.execute(sa.text("SHOW synchronous_commit")).scalar_one() == "on"
            return
        assert connection.execute(sa.text("PRAGMA synchronous")).scalar_one() == 2
        version = connection.execute(sa.text("SELECT sqlite_version()")).scalar_one()
    assert tuple(map(int, version.split("."))) >= (3, 51, 3)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("not a url", "not a database URL"),
        ("nosuchdb://x", "a nosuchdb database"),
        ("mysql://loop:hunter2@host/none", "a mysql database"),
        ("postgres://loop:hunter2@host/none", "say postgresql://"),
        ("postgresql://loop:hunter2@host:port/none", "not a database URL"),
        ("postgresql:/loop:hunter2@host/none", "not a database URL"),
        ("postgresql//loop:hunter2@host/none", "not a database URL"),
        ("postgresql+psycopg2://loop:hunter2@host/none", "the driver psycopg2"),
    ],
    ids=lambda value: value,
)
def test_an_unusable_url_is_told_in_one_line_without_its_password(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match="database_url") as refused:
        Ledger(url)
    assert words in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_error_names_the_database_without_its_password() -> None:
    with pytest.raises(StorageError, match=r"loop:\*\*\*@127") as refused:
        Ledger("postgresql://loop:hunter2@127.0.0.1:1/none")
    assert "hunter2" not in str(refused.value)
    assert str(refused.value).endswith("is the server running there?")
    assert "\n" not in str(refused.value)


def test_ids_sort_by_time_and_differ_by_content(tmp_path: Path) -> None:
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert new_id("run", "a", early) < new_id("run", "a", late)
    assert new_id("run", "a", early) != new_id("run", "b", early)
    assert Traffic.prefix == "req"
