"""What is old or too much goes, and what the loop still needs stays."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import structlog

from driftwheel.cli.main import main
from driftwheel.cli.status import as_text, gather
from driftwheel.records.nouns import Dataset, Traffic
from driftwheel.settings.settings import Settings
from driftwheel.store.alias import move_alias
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.export import export_traffic
from driftwheel.traffic.retention import ROW_BYTES, Pruned, prune, pruned_rows, volume
from tests.support.versions import add_with_parents, answered_request, published_version

pytestmark = pytest.mark.every_database

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ROW = answered_request("req_0", version_id="v0", route="/", prompt="p" * 100, answer="a" * 50)


def days_ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def row(name: str, days: float, **changes: Any) -> Traffic:
    return replace(ROW, id=name, created_at=days_ago(days), **changes)


def limited(settings: Settings, **changes: Any) -> Settings:
    traffic = settings.traffic.model_copy(update=changes)
    monitor = settings.monitor.model_copy(update={"window_rows": 3, "reference_rows": 4})
    return settings.model_copy(update={"traffic": traffic, "monitor": monitor})


def kept(ledger: Ledger) -> set[str]:
    return {r.id for r in ledger.find(Traffic)}


def go_live(ledger: Ledger, version: str, dataset_days_ago: float, origin: str) -> None:
    dataset = Dataset(
        id=f"dataset_{version}",
        project="support",
        created_at=days_ago(dataset_days_ago),
        content_hash="h",
        path="p",
        origin=origin,
        train_rows=1,
        validation_rows=1,
        test_rows=1,
    )
    model = published_version(version, dataset_id=dataset.id, quantization="w8a8")
    add_with_parents(ledger, dataset, model)
    move_alias(ledger, "support", "support", version)


def test_rows_over_the_age_go_and_those_of_other_projects_stay(settings: Settings, ledger: Ledger) -> None:
    ledger.add(*(row(f"old{n}", 31) for n in range(1203)), row("new", 29), row("else", 99, project="other"))
    assert prune(limited(settings, keep_days=30), ledger, NOW).rows == 1203
    assert kept(ledger) == {"new", "else"}
    assert pruned_rows(ledger, settings.project) == 1203


def test_the_oldest_rows_over_the_size_go_until_the_rest_fits(settings: Settings, ledger: Ledger) -> None:
    size_bytes = 100 + 50 + 1000 + ROW_BYTES
    ledger.add(*(row(f"r{n:04}", 30 - n / 100, response="x" * 1000) for n in range(2000)))
    assert volume(settings.monitor, ledger, settings.alias_key).size_bytes == 2000 * size_bytes
    fitting = 2**20 // size_bytes
    assert prune(limited(settings, keep_mib=1), ledger, NOW).rows == 2000 - fitting
    assert kept(ledger) == {f"r{n:04}" for n in range(2000 - fitting, 2000)}
    assert prune(limited(settings, keep_mib=1), ledger, NOW).rows == 0


def test_labelled_rows_stay_until_a_live_version_has_learned_from_them(settings: Settings, ledger: Ledger) -> None:
    settings = limited(settings, keep_days=30)
    ledger.add(
        row("labelled before", 60, label="x", label_source="label", feedback_at=days_ago(50)),
        row("labelled since", 60, label="x", label_source="label", feedback_at=days_ago(20)),
        row("thumb since", 60, thumb=-1, feedback_at=days_ago(20)),
        row("neither", 60),
    )
    assert prune(settings, ledger, NOW).rows == 1, "no version is live: every label is still to be learned from"
    go_live(ledger, "v1", 40, "files")
    go_live(ledger, "v2", 10, "files")
    prune(settings, ledger, NOW)
    assert kept(ledger) == {"labelled since", "thumb since"}, "a rollback to v1 would need them"
    go_live(ledger, "v3", 5, "files")
    prune(settings, ledger, NOW)
    assert kept(ledger) == set()


def test_what_the_monitor_compares_a_version_with_stays(settings: Settings, ledger: Ledger) -> None:
    settings = limited(settings, keep_days=30)
    ledger.add(*(row(f"before{n}", 70 - n) for n in range(6)))
    go_live(ledger, "v1", 60, "decision_1")
    ledger.add(
        *(row(f"first{n}", 59 - n, version_id="v1", status_code=500 if n == 1 else 200) for n in range(6)),
        row("another", 59, version_id="v9"),
    )
    prune(settings, ledger, NOW)
    assert kept(ledger) == {f"before{n}" for n in (2, 3, 4, 5)} | {f"first{n}" for n in (0, 1, 2, 3)}


def test_what_goes_before_a_drift_check_saw_it_is_counted(
    settings: Settings, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = limited(settings, keep_days=30)
    go_live(ledger, "v1", 60, "files")
    ledger.add(
        *(row(f"first{n}", 59, version_id="v1") for n in range(3)),  # what later ones are compared with stays
        *(row(f"checked{n}", 50, version_id="v1", check_id="c") for n in range(600)),
        *(row(f"waiting{n}", 40, version_id="v1") for n in range(2)),
        row("another alias", 40, version_id="v1", alias="else"),
        row("another version", 40),
        row("new", 20, version_id="v1"),
    )
    with structlog.testing.capture_logs() as logged:
        assert prune(settings, ledger, NOW) == Pruned(rows=604, unchecked_rows=2)
    assert [(line["log_level"], line["unchecked_rows"]) for line in logged] == [("warning", 2)]
    assert "pruned         604 requests, 2 of them before a drift check saw them" in as_text(
        gather(ledger, settings.alias_key)
    )
    ledger.add(*(row(f"later{n}", 10 - n / 100, version_id="v1") for n in range(20)))
    options = ["--config", str(settings.path), "--set", "traffic.keep_days=1", "--set", "monitor.window_rows=20"]
    assert main(["traffic", "prune", *options]) == 0
    assert capsys.readouterr().out == "deleted 4 rows, 4 of them before a drift check saw them\n"
    assert pruned_rows(ledger, settings.project) == 608


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_an_export_holds_every_field_of_every_row(
    settings: Settings, ledger: Ledger, tmp_path: Path, ending: str
) -> None:
    ledger.add(*(row(f"r{n:04}", 30 - n // 700, thumb=1 if n % 2 else None, response="é\n") for n in range(2500)))
    path = tmp_path / f"traffic{ending}"
    assert export_traffic(ledger, settings.project, path, since=days_ago(29)) == 1800
    if ending == ".jsonl":
        found = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        for fields in found:
            fields["created_at"] = datetime.fromisoformat(fields["created_at"])
    else:
        found = pyarrow.parquet.read_table(path).to_pylist()
    assert [Traffic(**fields) for fields in found] == ledger.find(Traffic, newest_first=False)[700:]


def test_the_verb_shows_exports_and_prunes(
    settings: Settings, ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.add(row("old", 400, label="x"), row("older", 500))
    options = ["--config", str(settings.path)]
    assert main(["traffic", "show", *options]) == 0
    assert "2 requests" in capsys.readouterr().out
    assert main(["traffic", "show", "--id", "old", "--json", *options]) == 0
    assert json.loads(capsys.readouterr().out)["prompt"] == "p" * 100
    assert main(["traffic", "export", str(tmp_path / "t.jsonl"), "--labelled", *options]) == 0
    assert main(["traffic", "export", str(tmp_path / "t.txt"), *options]) == 1
    assert main(["traffic", "prune", *options]) == 1
    assert "traffic.keep_days" in capsys.readouterr().err
    assert main(["traffic", "prune", "--set", "traffic.keep_days=1", *options]) == 0
    assert capsys.readouterr().out == "deleted 1 rows\n"
    assert [p.name for p in tmp_path.glob("t.*")] == ["t.jsonl"]
