"""Any two samples are compared as a check would: files, windows, and what versions answered or were judged on."""

import csv
import json
from pathlib import Path

import pytest

from driftwheel.cli.main import main
from driftwheel.records.bookkeeping import Window
from driftwheel.records.nouns import DriftKind
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from examples.support.world import answer, messages
from monitor.sides import file_side
from tests.unit.monitor.test_check import WINDOW_ROWS, send, verdicts, watched
from tests.unit.monitor.test_new_normal import look_at_all

__all__ = ["watched"]  # the fixture of a small version that is watched


def written(path: Path, count: int, seed: int, phase: str) -> Path:
    """Write prompts and answers as JSON lines or CSV, sorted by label as files often are."""
    said = sorted(messages(count, seed, "shifted" if phase == "shifted" else "steady"), key=lambda e: e.intent)
    rows = [{"prompt": e.text, "answer": answer(e), "label": e.intent} for e in said]
    with path.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            table = csv.DictWriter(file, ["prompt", "answer", "label"])
            table.writeheader()
            table.writerows(rows)
        else:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, str]:
    """Return the verdicts of `driftwheel drift compare ... --json`."""
    assert main(["drift", "compare", *arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    return {one["kind"]: one["verdict"] for one in found["verdicts"]}


def test_files_are_compared_without_a_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    before, same = written(tmp_path / "a.jsonl", 400, 1, "steady"), written(tmp_path / "b.csv", 200, 2, "steady")
    shifted = written(tmp_path / "c.csv", 200, 3, "shifted")
    assert told(capsys, str(before), str(same)) == {"input": "steady", "output": "steady"}
    assert told(capsys, str(before), str(shifted)) == {"input": "drifted", "output": "drifted"}
    assert main(["drift", "compare", str(before), str(shifted)]) == 0
    said = capsys.readouterr().out
    assert "nestora" in said.lower(), "the new product is not named"
    assert "c.csv: 200 rows" in said


def test_windows_and_versions_are_compared_as_the_check_did(
    watched: Settings, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    send(ledger, WINDOW_ROWS, 2, "steady", 0, is_labelled=False)
    send(ledger, 2 * WINDOW_ROWS, 3, "shifted", WINDOW_ROWS, is_labelled=False)
    look_at_all(watched, ledger)
    first, second, third = (w.id for w in sorted(ledger.find(Window), key=lambda window: window.number))
    config = ("--config", str(watched.path))
    assert told(capsys, "judged:v1", first, *config)["input"] == verdicts(ledger, DriftKind.INPUT)[0] == "steady"
    assert told(capsys, "judged:version_1", second, *config)["input"] == "drifted"
    assert told(capsys, second, third, *config) == {"input": "steady", "output": "steady"}
    assert told(capsys, first, "v1", "--rows", "150", *config)["input"] == "drifted"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.jsonl", '{"prompt": "hello"}\nno json\n', "a.jsonl:2: not JSON"),
        ("a.jsonl", "[1]\n", "a.jsonl:1: not a JSON object"),
        ("a.jsonl", '{"words": "hello"}\n', "a.jsonl:1: a row needs a text in one of the columns prompt"),
        ("a.jsonl", "", "holds no rows"),
        ("a.jsonl", '{"prompt": "hello", "answer": "", "status_code": 500}\n', "but failed requests"),
        ("a.csv", "prompt,answer\nhello,yes,no\n", "a.csv:2: this row has another number of fields"),
        ("a.csv", 'prompt,answer\n"hello,yes\n', "a.csv:2: not CSV"),
        ("a.parquet", "PAR0", "no Parquet file"),
        ("a.txt", "hello", "cannot read .txt; say a file (.jsonl, .csv or .parquet)"),
        ("a.jsonl", '{"prompt": "hello"}\n', "at least 20 rows on each side"),
    ],
)
def test_a_side_that_cannot_be_read_is_one_line(
    name: str, text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(text, encoding="utf-8")
    good = written(tmp_path / "good.jsonl", 30, 1, "steady")
    assert main(["drift", "compare", str(good), name]) == 1
    assert said in capsys.readouterr().err


def test_what_is_neither_file_nor_window_nor_version_is_named(
    settings: Settings, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["drift", "compare", "v7", "check_9", "--config", str(settings.path)]) == 1
    assert "no file, window or version 'v7'; name a file" in capsys.readouterr().err


def test_the_rows_of_an_export_and_of_a_dataset_are_read(tmp_path: Path) -> None:
    rows = [
        {"prompt": "left", "answer": "", "status_code": 200, "is_partial": True},
        {"prompt": "told", "answer": '{"intent":"card"}', "status_code": 200, "is_partial": False},
        {
            "prompt": [{"role": "user", "content": "asked"}],
            "completion": [{"role": "assistant", "content": "said"}],
            "label": "card",
        },
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    side = file_side(path, "intent", 100)
    assert {(row.prompt, row.answer, row.label) for row in side.rows} == {
        ("told", '{"intent":"card"}', "card"),
        ("asked", "said", "card"),
    }
    assert side.name == "rows.jsonl: 2 rows, 1 requests without an answer left out"
