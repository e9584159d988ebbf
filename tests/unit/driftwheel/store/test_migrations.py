"""A database of any released revision is upgraded whole or not at all, and one that is not ours is left alone."""

import json
import multiprocessing
import os
import resource
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
import structlog

from driftwheel.errors import DriftwheelError, RecordError, SchemaError, StorageError
from driftwheel.records.by_whom import Action, Event, Feedback, me
from driftwheel.records.nouns import RECORDS, Alias, Traffic, TrainingRun
from driftwheel.settings.settings import Settings
from driftwheel.store import migrations
from driftwheel.store.alias import move_alias
from driftwheel.store.database import connect
from driftwheel.store.events import note
from driftwheel.store.ledger import Ledger
from driftwheel.store.migrations import Standing, bring_up_to_date, differences, newest_revision, status_of
from driftwheel.store.schema_lock import locked
from tests.support.kept_databases import REVISIONS, Rows, kept_rows, restore, rows_in

NOBODY = 65534
WINDOWS = 4
"""The revision in which a check became a window."""
FEEDBACK = 7
"""The revision in which feedback got authors."""
EVENTS = 8
"""The revision in which what is done got actors."""
KILLS = 50
FORK = multiprocessing.get_context("fork")
pytestmark = pytest.mark.every_database


@pytest.fixture
def engine(settings: Settings) -> Iterator[sa.Engine]:
    """The engine of an empty database."""
    opened = connect(settings.database_url)
    yield opened
    opened.dispose()


def standing(engine: sa.Engine) -> Standing:
    with engine.connect() as connection:
        return status_of(connection).standing


def backups(settings: Settings) -> list[Path]:
    return sorted(settings.root.glob("ledger.db.revision-*"))


def upgraded(rows: Rows, revision: int) -> Rows:
    """Return what the rows of a kept database must be after the revisions that followed it."""
    if revision < 2:
        for row in rows["alias"].values():
            row["name"] = row["id"]
            row["id"] = f"{row['project']}/{row['name']}"
            row["leader"], row["heartbeats"] = row.pop("conductor"), row.pop("beats")
        rows["alias"] = {row["id"]: row for row in rows["alias"].values()}
    if revision < WINDOWS:
        _adopt_checks(rows)
    if revision < FEEDBACK:
        _adopt_feedback(rows)
    if revision < EVENTS:
        rows["event"] = {}  # who did what before was not written down
    return rows


def _adopt_feedback(rows: Rows) -> None:
    """Make a row of each label and each thumb that the requests' summaries hold."""
    words = rows.setdefault("feedback", {})
    for request in rows["req"].values():
        for kind, value in ((request["label_source"], request["label"]), ("thumb", request["thumb"])):
            if value is not None:
                kept = {"id": f"feedback_{request['id']}_{kind}", "project": request["project"], "kind": kind}
                kept |= {"created_at": request["feedback_at"], "request_id": request["id"], "value": str(value)}
                words[kept["id"]] = kept | {"author": "legacy", "trust": "none", "withdrawn_at": None}


def _adopt_checks(rows: Rows) -> None:
    """Make windows of the checks, and move the list of its requests from a check's signal to the requests."""
    windows, requests = rows.setdefault("drift_window", {}), rows["req"].values()
    for request in requests:
        request["check_id"] = None
    for signal_row in rows["signal"].values():
        for id in signal_row["details"].pop("request_ids", []):
            rows["req"][id]["check_id"] = signal_row["check_id"]
        kept = ("project", "created_at", "version_id")
        windows[signal_row["check_id"]] = {name: signal_row[name] for name in kept} | {
            "id": signal_row["check_id"],
            "number": 1,
            "rows": signal_row["current_rows"],
            "started_at": signal_row["window_started_at"],
            "ended_at": signal_row["window_ended_at"],
            "over_in_a_row": {signal_row["kind"]: 0},
        }


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_database_of_every_released_revision_is_upgraded_and_no_row_is_lost(
    settings: Settings, revision: int
) -> None:
    restore(revision, settings.database_url)
    with closing(Ledger(settings.database_url)) as ledger:
        with ledger.read() as connection:
            assert rows_in(connection) == upgraded(kept_rows(revision), revision)
            assert differences(connection, with_foreign_tables=True) == []
        adopted = [record_type for record_type in RECORDS if record_type is not Event or revision >= EVENTS]
        assert all(ledger.count(record_type) >= 2 for record_type in adopted)
        assert all(ledger.find(record_type) for record_type in adopted)


def restore_changed(settings: Settings, engine: sa.Engine, *changes: str) -> None:
    """Make the database the kept one of revision 1, with changes."""
    restore(1, settings.database_url)
    with engine.begin() as connection:
        for change in changes:
            connection.execute(sa.text(change))
    engine.dispose()


def test_paths_inside_the_storage_folder_become_relative_to_it(settings: Settings, engine: sa.Engine) -> None:
    root = Path("/srv/loop/.driftwheel")
    restore_changed(
        settings,
        engine,
        *(f"UPDATE {table} SET project = 'support'" for table in ("dataset", "run", "version", "signal")),
        f"""UPDATE version SET scorecard = '{{"items"\\: 3, "predictions_path"\\: "{root}/e/predictions.jsonl"}}'""",
        f"""UPDATE step SET output = '{{"artifact"\\: "{root}/artifacts/a", "merged"\\: "/mnt/m", "number"\\: 1}}'""",
    )
    with closing(Ledger(settings.database_url, root=root)) as ledger, ledger.read() as connection:
        rows = rows_in(connection)
    assert {row["path"] for row in rows["dataset"].values()} == {f"storage:datasets/dataset_{n}" for n in (0, 1)}
    assert {row["path"] for row in rows["run"].values()} == {f"storage:runs/run_{n}" for n in (0, 1)}
    assert {row["path"] for row in rows["version"].values()} == {f"storage:artifacts/version_{n}" for n in (0, 1)}
    assert {row["report_path"] for row in rows["signal"].values()} == {"storage:reports/check_0", None}
    assert {row["base_model"] for row in rows["version"].values()} == {"/models/base"}
    for row in rows["version"].values():
        assert row["scorecard"] == {"items": 3, "predictions_path": "storage:e/predictions.jsonl"}
    for row in rows["step"].values():
        assert row["output"] == {"artifact": "storage:artifacts/a", "merged": "/mnt/m", "number": 1}


def test_paths_of_projects_that_share_a_database_stay_as_they_are(settings: Settings) -> None:
    root = Path("/srv/loop/.driftwheel")
    restore(1, settings.database_url)  # its rows belong to two projects
    with closing(Ledger(settings.database_url, root=root)) as ledger, ledger.read() as connection:
        rows = rows_in(connection)
    # The other project's folder may lie inside this one's, and its programs would read the path from there.
    assert {row["path"] for row in rows["dataset"].values()} == {f"{root}/datasets/dataset_{n}" for n in (0, 1)}


def _make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).mkdir(parents=True)


def test_a_folder_that_was_moved_before_its_first_upgrade_is_found_again_and_what_is_lost_is_told(
    settings: Settings, engine: sa.Engine, tmp_path: Path
) -> None:
    root, old = tmp_path / "new place", "/srv/loop/.driftwheel"
    _make(root, "datasets/dataset_0", "runs/run_0", "runs/run_1", "artifacts/version_0", "e/eval_0", "models/base")
    restore_changed(
        settings,
        engine,
        *(f"UPDATE {table} SET project = 'support'" for table in ("dataset", "run", "version", "signal")),
        f"""UPDATE version SET scorecard = '{{"items"\\: 3, "predictions_path"\\: "{old}/e/eval_0"}}'""",
        f"""UPDATE step SET output = '{{"artifact"\\: "{old}/artifacts/version_0", "merged"\\: "/mnt/m"}}'""",
        f"UPDATE run SET base_model = '{tmp_path}' WHERE id = 'run_1'",  # what is there is left alone
        "UPDATE version SET base_model = 'hub/name' WHERE id = 'version_1'",
    )
    with structlog.testing.capture_logs() as logged:
        opened = Ledger(settings.database_url, root=root)
    with closing(opened) as ledger, ledger.read() as connection:
        rows = rows_in(connection)

    def both(table: str, column: str) -> list[Any]:
        return [rows[table][f"{table}_{n}"][column] for n in (0, 1)]

    assert both("dataset", "path") == ["storage:datasets/dataset_0", f"{old}/datasets/dataset_1"]
    assert both("run", "path") == ["storage:runs/run_0", "storage:runs/run_1"]
    assert both("run", "base_model") == ["storage:models/base", str(tmp_path)]
    assert both("version", "base_model") == ["storage:models/base", "hub/name"]
    assert {r["scorecard"]["predictions_path"] for r in rows["version"].values()} == {"storage:e/eval_0"}
    for row in rows["step"].values():
        assert row["output"] == {"artifact": "storage:artifacts/version_0", "merged": "/mnt/m"}
    lines = [line for line in logged if line["event"].startswith("paths lead to nothing")]
    told = {(line["table"], line["column"]): line["rows"] for line in lines}
    kept = {("dataset", "path"): 1, ("version", "path"): 1, ("signal", "report_path"): 1, ("step", "output"): 2}
    assert told == kept
    assert {(line["log_level"], line["storage"]) for line in lines} == {("warning", str(root))}


def test_what_users_added_to_a_file_neither_blocks_the_upgrade_nor_goes_with_a_rebuilt_table(
    settings: Settings, engine: sa.Engine
) -> None:
    restore_changed(
        settings,
        engine,
        "CREATE VIEW what_is_live AS SELECT a.id, v.number FROM alias AS a JOIN version AS v ON v.id = a.version_id",
        "CREATE INDEX live_of_mine ON alias (version_id, fence) WHERE fence > 1",
    )
    with structlog.testing.capture_logs() as logged:
        opened = Ledger(settings.database_url)
    with closing(opened) as ledger, ledger.read() as connection:
        assert connection.exec_driver_sql("SELECT number FROM what_is_live").scalars().all() == [1, 1]
        assert "live_of_mine" in {index["name"] for index in sa.inspect(connection).get_indexes("alias")}
    assert not [line for line in logged if "does not fit" in line["event"]]


def test_a_view_that_no_longer_fits_and_a_trigger_of_a_users_are_told_or_kept(
    settings: Settings, engine: sa.Engine
) -> None:
    if not settings.database_url.startswith("sqlite"):
        return  # PostgreSQL renames columns inside views, and rebuilds no table
    restore_changed(
        settings,
        engine,
        "CREATE VIEW old_names AS SELECT conductor FROM alias",
        "CREATE TABLE mine (id TEXT)",
        "CREATE TRIGGER moved AFTER UPDATE OF fence ON alias BEGIN INSERT INTO mine VALUES (new.id); END",
        "CREATE TRIGGER lost AFTER UPDATE OF conductor ON alias BEGIN INSERT INTO mine VALUES (new.id); END",
    )
    with structlog.testing.capture_logs() as logged, closing(Ledger(settings.database_url)) as ledger:
        (alias,) = ledger.find(Alias, project="support")
        ledger.change(alias, fence=9)
        with ledger.read() as connection:
            assert connection.exec_driver_sql("SELECT id FROM mine").scalars().all() == [alias.id]
    told = {line["name"] for line in logged if "does not fit" in line["event"]}
    assert told >= {"old_names"}


def test_old_rows_that_name_nothing_stay_and_are_reported(settings: Settings, engine: sa.Engine) -> None:
    restore_changed(
        settings,
        engine,
        "UPDATE alias SET version_id = 'gone'",
        "UPDATE run SET dataset_id = 'gone' WHERE id = 'run_0'",
        "DELETE FROM decision WHERE id = 'decision_1'",
    )
    with structlog.testing.capture_logs() as logged, closing(Ledger(settings.database_url)) as ledger:
        lines = [line for line in logged if line["event"].startswith("rows name records that are not there")]
        told = {(line["table"], line["column"]): line["rows"] for line in lines}
        kept = {("deployment", "version_id"): 2}  # as the kept database has them
        assert told == kept | {("alias", "version_id"): 2, ("run", "dataset_id"): 1, ("step", "decision_id"): 1}
        assert ledger.get(TrainingRun, "run_0").dataset_id == "gone"
        ledger.change(ledger.get(TrainingRun, "run_0"), error="changed")  # what it does not touch is not asked
        (alias,) = ledger.find(Alias, project="support")
        assert move_alias(ledger, "support", alias.name, "version_0").previous_version_id == "gone"
        with pytest.raises(RecordError, match=r"alias\.version_id 'elsewhere'"):
            move_alias(ledger, "support", alias.name, "elsewhere")


@pytest.mark.parametrize(
    ("source", "thumb", "kinds", "label"),
    [
        ("correction", "NULL", {("correction", "card_lost")}, "card_lost"),
        ("accepted", "1", {("thumb", "1")}, "card_lost"),
        ("accepted", "NULL", {("thumb", "1")}, "card_lost"),
        ("accepted", "-1", {("thumb", "-1")}, None),
    ],
    ids=["a correction", "an accepted answer", "one without its thumb", "one that was taken back"],
)
def test_old_feedback_becomes_rows_of_an_author_whom_nobody_trusts(
    settings: Settings, engine: sa.Engine, source: str, thumb: str, kinds: set[tuple[str, str]], label: str | None
) -> None:
    change = f"UPDATE req SET label_source = '{source}', thumb = {thumb}, feedback_at = NULL WHERE id = 'req_0_1'"
    restore_changed(settings, engine, change)
    with closing(Ledger(settings.database_url)) as ledger:
        found = ledger.find(Feedback, request_id="req_0_1")
        assert {(w.kind, w.value) for w in found} == kinds
        row = ledger.get(Traffic, "req_0_1")
        assert {(w.author, w.trust, w.created_at) for w in found} == {("legacy", "none", row.created_at)}
        assert row.label == label


def test_the_file_before_the_upgrade_is_kept_beside_it(settings: Settings) -> None:
    restore(1, settings.database_url)
    Ledger(settings.database_url).close()
    Ledger(settings.database_url).close()
    if settings.database_url.startswith("sqlite"):
        (backup,) = backups(settings)
        assert backup.stat().st_mode & 0o777 == 0o600
        engine = connect(f"sqlite:///{backup}")
        with engine.connect() as old:
            assert rows_in(old) == kept_rows(1)
            assert status_of(old).standing is Standing.UNNUMBERED
        engine.dispose()


def test_a_database_from_before_the_latest_columns_and_tables_is_adopted(settings: Settings, engine: sa.Engine) -> None:
    restore(1, settings.database_url)
    with engine.begin() as connection:
        for change in (
            "ALTER TABLE alias DROP COLUMN conductor",
            "ALTER TABLE alias DROP COLUMN beats",
            "ALTER TABLE req DROP COLUMN response",
            "DROP TABLE judgement",
            "DROP TABLE api_key",
        ):
            connection.exec_driver_sql(change)
    with closing(Ledger(settings.database_url)) as ledger, ledger.read() as connection:
        assert differences(connection) == []
        assert {row["answer"] for row in rows_in(connection)["req"].values()} == {"answer 0", "answer 1", "answer 2"}


def test_a_check_of_more_requests_than_a_statement_has_parameters_becomes_a_window(
    settings: Settings, engine: sa.Engine
) -> None:
    restore(1, settings.database_url)
    ids = json.dumps({"request_ids": [*(f"gone_{n}" for n in range(260_000)), "req_0_1"]})
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE signal SET details = :details WHERE id = 'signal_0'"), {"details": ids})
    engine.dispose()
    with closing(Ledger(settings.database_url)) as ledger:
        assert ledger.get(Traffic, "req_0_1").check_id == "check_0"


def test_records_and_revisions_describe_the_same_tables(engine: sa.Engine) -> None:
    with locked(engine) as connection:
        migrations.run_revisions(connection)
        assert differences(connection, with_foreign_tables=True) == []


@pytest.mark.parametrize("is_upgraded", [True, False], ids=["upgraded", "new"])
def test_the_database_itself_refuses_to_change_or_delete_an_event(settings: Settings, is_upgraded: bool) -> None:
    """In a new database as in an upgraded one: the two are made by different statements."""
    if is_upgraded:
        restore(1, settings.database_url)
    with closing(Ledger(settings.database_url)) as ledger:
        note(ledger, me("it is Friday"), Action.PAUSE, "support", "paused")
        for statement in ("UPDATE event SET actor = 'person:nobody'", "DELETE FROM event"):
            refused = pytest.raises(sa.exc.DatabaseError, match="events are added, and never changed or deleted")
            with refused, ledger.write() as connection:
                connection.exec_driver_sql(statement)
        (kept,) = ledger.find(Event)
        assert (kept.reason, kept.actor) == ("it is Friday", me().actor)


def test_the_tables_of_a_new_database_are_those_of_the_records(ledger: Ledger) -> None:
    with ledger.read() as connection:
        assert differences(connection, with_foreign_tables=True) == []
        assert status_of(connection).standing is Standing.CURRENT


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ("ALTER TABLE decision DROP COLUMN remedy", "add_column"),
        ("ALTER TABLE decision RENAME COLUMN trigger TO cause", "remove_column"),
        ("DROP INDEX ix_decision_project_created_at", "add_index"),
        ("CREATE INDEX another ON decision (status)", "remove_index"),
        ("DROP TABLE step", "add_table"),
        ("CREATE TABLE another (id TEXT)", "remove_table"),
    ],
    ids=lambda value: value,
)
def test_a_difference_between_records_and_tables_is_seen(ledger: Ledger, change: str, word: str) -> None:
    with ledger.write() as connection:
        connection.exec_driver_sql(change)
        assert word in " ".join(differences(connection, with_foreign_tables=True))


def test_opening_a_current_database_asks_one_question(ledger: Ledger, settings: Settings) -> None:
    engine, asked = connect(settings.database_url), list[str]()
    sa.event.listen(engine, "before_cursor_execute", lambda *arguments: asked.append(arguments[2]))
    assert bring_up_to_date(engine, "it") is None
    engine.dispose()
    assert [text for text in asked if not text.startswith("BEGIN")] == [
        "SELECT driftwheel_revision.version_num \nFROM driftwheel_revision"
    ]


def _whole(engine: sa.Engine) -> bool:
    """Say whether a database that was revision 1 is at it still, or at the newest, with every row; fails otherwise."""
    with engine.connect() as connection:
        is_done = status_of(connection).standing is Standing.CURRENT
        assert is_done or status_of(connection).standing is Standing.UNNUMBERED
        assert rows_in(connection) == (upgraded(kept_rows(1), 1) if is_done else kept_rows(1))
        assert not is_done or differences(connection) == []
    engine.dispose()
    return is_done


def _die_at(url: str, statement: int) -> None:
    """Upgrade, and be killed at the n-th statement."""
    engine, seen = connect(url), list[str]()

    def count(*arguments: Any) -> None:
        seen.append(arguments[2])
        if len(seen) == statement:
            os.kill(os.getpid(), signal.SIGKILL)

    sa.event.listen(engine, "after_cursor_execute", count)
    bring_up_to_date(engine, "it")


def _statements(engine: sa.Engine) -> int:
    """Return how many statements an upgrade takes, from one that is rolled back."""
    seen = list[str]()
    sa.event.listen(engine, "after_cursor_execute", lambda *arguments: seen.append(arguments[2]))
    with pytest.raises(InterruptedError), locked(engine) as connection:
        migrations.run_revisions(connection)
        raise InterruptedError
    engine.dispose()
    return len(seen)


def test_a_program_killed_50_times_in_the_middle_of_an_upgrade_leaves_a_whole_database(
    settings: Settings, engine: sa.Engine
) -> None:
    restore(1, settings.database_url)
    count = _statements(engine)
    assert count > KILLS
    for number in range(KILLS):
        child = FORK.Process(target=_die_at, args=(settings.database_url, 1 + number * count // KILLS))
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        assert not _whole(engine)
    assert backups(settings) == []
    assert len(list(settings.root.glob(".*.partial"))) <= 1
    Ledger(settings.database_url).close()
    assert _whole(engine)
    assert len(backups(settings)) == settings.database_url.startswith("sqlite")
    assert list(settings.root.glob(".*")) == []


def test_an_upgrade_that_somebodys_transaction_holds_up_ends_and_says_whose(
    settings: Settings, engine: sa.Engine
) -> None:
    if settings.database_url.startswith("sqlite"):
        return  # readers of a file hold nothing up
    restore(1, settings.database_url)
    address = f"{settings.database_url}?application_name=somebodys%20notebook"
    with psycopg.connect(address) as session:
        session.execute("SELECT * FROM alias")  # and now it forgets to end its transaction
        said = rf"session {session.info.backend_pid} \(somebodys notebook, user .*, idle in transaction since 20.*"
        with pytest.raises(StorageError, match=rf"^cannot bring the ledger at it from revision 0 to \d+: {said}"):
            bring_up_to_date(engine, "it", table_milliseconds=50)
        assert not _whole(engine)
    assert bring_up_to_date(engine, "it") is not None
    assert _whole(engine)


def _report(pipe: Connection, act: Callable[[], Any]) -> None:
    try:
        pipe.send(act())
    except (DriftwheelError, AssertionError) as error:
        pipe.send(str(error))


def in_children(acts: list[Callable[[], Any]]) -> list[Any]:
    """Run functions at once, each in a process of its own; return what they returned, or the words of their error."""
    pipes = [FORK.Pipe(duplex=False) for _ in acts]
    children = [FORK.Process(target=_report, args=(pipes[i][1], act)) for i, act in enumerate(acts)]
    for child in children:
        child.start()
    answers = [reader.recv() if reader.poll(60) else "no answer" for reader, _ in pipes]
    for child in children:
        child.join()
    return answers


@pytest.mark.parametrize("is_old", [True, False], ids=["an older one", "an empty one"])
def test_of_programs_that_open_a_database_at_once_one_upgrades_it(settings: Settings, is_old: bool) -> None:
    if is_old:
        restore(1, settings.database_url)
    barrier = FORK.Barrier(6)

    def open_it() -> Any:
        engine = connect(settings.database_url)
        barrier.wait()
        return bring_up_to_date(engine, "it") is not None

    assert sorted(in_children([open_it] * 6), key=str) == [False] * 5 + [True]
    is_file = settings.database_url.startswith("sqlite")
    assert len(backups(settings)) == (1 if is_old and is_file else 0)


def test_a_database_of_a_newer_driftwheel_is_refused(ledger: Ledger, settings: Settings) -> None:
    with ledger.write() as connection:
        connection.exec_driver_sql(f"UPDATE driftwheel_revision SET version_num = '{newest_revision() + 7}'")
    with pytest.raises(
        SchemaError, match=rf"newer driftwheel.* revision {newest_revision() + 7}, .*upgrade driftwheel"
    ):
        Ledger(settings.database_url)
    assert standing(ledger.engine) is Standing.NEWER


@pytest.mark.parametrize("table", ["customers", "alembic_version"])
def test_a_database_of_another_program_is_refused_and_left_as_it_was(settings: Settings, table: str) -> None:
    engine = connect(settings.database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE {table} (version_num VARCHAR(32))")
        connection.exec_driver_sql(f"INSERT INTO {table} VALUES ('abc')")
    engine.dispose()
    path = settings.root / "ledger.db"
    before = path.read_bytes() if path.exists() else b""
    with pytest.raises(SchemaError, match="another program"):
        Ledger(settings.database_url)
    assert (path.read_bytes() if path.exists() else b"") == before
    with engine.connect() as connection:
        assert sa.inspect(connection).get_table_names() == [table]
    engine.dispose()


def test_tables_of_another_program_beside_ours_do_no_harm(ledger: Ledger, settings: Settings) -> None:
    with ledger.write() as connection:
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32))")
    with closing(Ledger(settings.database_url)) as again, again.read() as connection:
        assert differences(connection) == []


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, with the file of revision 1."""
    folder = Path(tempfile.mkdtemp(prefix="driftwheel-store-"))
    folder.chmod(0o755)
    restore(1, f"sqlite:///{folder / 'ledger.db'}")
    yield folder
    shutil.rmtree(folder)


def test_a_file_that_may_not_be_written_is_one_line_and_whole(open_folder: Path) -> None:
    path = open_folder / "ledger.db"
    path.chmod(0o444)
    open_folder.chmod(0o555)
    before = path.read_bytes()

    def open_it() -> str:
        if os.geteuid() == 0:  # whom no mode binds
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        Ledger(f"sqlite:///{path}")
        return "opened"

    (answer,) = in_children([open_it])
    assert "readonly" in answer
    assert answer.startswith(f"cannot open the ledger at sqlite:///{path}")
    assert "\n" not in answer
    assert path.read_bytes() == before


@pytest.mark.parametrize("room", [0.5, 1.0], ids=["no room for the copy", "no room for the revisions"])
def test_a_full_disk_is_one_line_and_the_old_file_whole(open_folder: Path, room: float) -> None:
    path = open_folder / "ledger.db"
    limit = round(path.stat().st_size * room)

    def open_it() -> str:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        Ledger(f"sqlite:///{path}")
        return "opened"

    (answer,) = in_children([open_it])
    assert answer.startswith(f"cannot bring the ledger at sqlite:///{path} from revision 0 to {newest_revision()}: ")
    assert "nothing was changed" in answer
    assert "\n" not in answer
    engine = connect(f"sqlite:///{path}")
    assert not _whole(engine)
    assert not list(open_folder.glob(".*"))
    assert not list(open_folder.glob("ledger.db.revision*"))
    Ledger(f"sqlite:///{path}").close()
    assert _whole(engine)


def test_a_file_that_is_no_database_is_one_line_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"not a database, but long enough to be looked at " * 100)
    before = path.read_bytes()
    with pytest.raises(StorageError, match=r"^cannot open the ledger at .*not a database.*$"):
        Ledger(f"sqlite:///{path}")
    assert path.read_bytes() == before
