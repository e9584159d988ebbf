"""Five shapes in three kinds of file become the same rows, and a broken row is named."""

import csv
import json
import typing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from driftwheel.errors import DataError
from driftwheel.settings.data import DatasetSettings
from train.data.sources.formats import read_sources
from train.data.sources.row_shapes import SHAPES as KNOWN_SHAPES
from train.reading.raw_rows import RawRow
from train.shapes.read_row import PromptAndAnswer, Shape

SETTINGS = DatasetSettings(sources=["x"], group_column="user")
PROMPT, ANSWER = "where is my parcel", '{"intent":"delivery"}'
SHAPES: dict[str, dict[str, Any]] = {
    "prompt and completion": {"prompt": PROMPT, "completion": ANSWER},
    "prompt as messages": {"prompt": [{"role": "user", "content": PROMPT}], "completion": ANSWER},
    "messages": {"messages": [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": ANSWER}]},
    "alpaca": {"instruction": PROMPT, "input": "", "output": ANSWER},
    "sharegpt": {"conversations": [{"from": "human", "value": PROMPT}, {"from": "gpt", "value": ANSWER}]},
    "human and assistant": {"text": f"### Human: {PROMPT}\n### Assistant: {ANSWER}"},
}


@pytest.mark.parametrize("value", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_every_shape_becomes_the_same_row(tmp_path: Path, value: dict[str, Any], kind: str) -> None:
    path = tmp_path / f"rows.{kind}"
    if kind == "jsonl":
        path.write_text(json.dumps({**value, "user": "u7"}) + "\n", encoding="utf-8")
    else:
        pyarrow.parquet.write_table(pa.Table.from_pylist([{**value, "user": "u7"}]), path)
    assert_is_the_row(path)


def test_every_format_of_the_settings_has_a_shape() -> None:
    names = typing.get_args(DatasetSettings.model_fields["format"].annotation)
    assert {*KNOWN_SHAPES, "auto"} == set(names)


def test_a_shape_is_added_by_one_function_and_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def question(row: RawRow, settings: DatasetSettings) -> PromptAndAnswer:
        return [{"role": "user", "content": row["question"]}], row["reply"]

    monkeypatch.setitem(KNOWN_SHAPES, "question_reply", Shape(lambda row, _: "question" in row, question))
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"question": PROMPT, "reply": ANSWER, "user": "u7"}) + "\n", encoding="utf-8")
    assert_is_the_row(path)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != "prompt as messages"])
def test_a_csv_file_holds_conversations_as_json_text(tmp_path: Path, shape: str) -> None:
    cells = {k: v if isinstance(v, str) else json.dumps(v) for k, v in SHAPES[shape].items()}
    path = tmp_path / "rows.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([[*cells, "user"], [*cells.values(), "u7"]])
    assert_is_the_row(path)


def assert_is_the_row(path: Path) -> None:
    (row,) = read_sources(SETTINGS, [path])[0].rows
    assert (row.prompt, row.answer, row.group) == ([{"role": "user", "content": PROMPT}], ANSWER, "u7")


@pytest.mark.parametrize(
    ("text", "reason"),
    [("hello", "messages is text, but not JSON"), ("{}", "messages is a dict, not a list of messages")],
)
def test_a_conversation_that_is_none_is_named(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "rows.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["messages"], [text]])
    (broken,) = read_sources(SETTINGS, [path])[0].broken
    assert broken.place == "rows.csv:2"
    assert reason in broken.reason


def test_csv_with_commas_quotes_and_line_breaks_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["prompt", "completion"], ['he said "no",\nthen left', ANSWER]])
    (row,) = read_sources(SETTINGS, [path])[0].rows
    assert row.prompt[0]["content"] == 'he said "no",\nthen left'


def test_a_conversation_becomes_one_row_that_ends_with_its_last_answer(tmp_path: Path) -> None:
    roles = ["system", "user", "assistant", "user", "assistant", "user"]
    turns = [{"role": role, "content": f"turn {n}"} for n, role in enumerate(roles)]
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"messages": turns}), encoding="utf-8")
    (row,) = read_sources(SETTINGS, [path])[0].rows
    assert (len(row.prompt), row.answer) == (4, "turn 4")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"prompt": "a"', "is not JSON"),
        ("[1, 2]", "not an object"),
        ('{"prompt": "a"}', "has no column 'completion'"),
        ('{"prompt": "a", "completion": ""}', "completion is empty"),
        ('{"prompt": 7, "completion": "b"}', "prompt is a int, not text"),
        ('{"prompt": [{"role": "robot", "content": "x"}], "completion": "b"}', "unknown role 'robot'"),
        ("[" * 100_000, "is not JSON"),
        ('{"prompt": [], "completion": "b"}', "does not end with a user turn"),
        ('{"prompt": "a", "completion": []}', "completion is empty"),
        ('{"prompt": "a", "completion": [{"role": "user", "content": "b"}]}', "not of the assistant"),
    ],
    ids=[
        "torn JSON",
        "a list",
        "column missing",
        "empty",
        "number",
        "unknown role",
        "too deep",
        "no prompt",
        "no turn",
        "turn of a user",
    ],
)
def test_a_broken_row_is_named_by_file_line_and_reason(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(SHAPES["prompt and completion"]) + "\n" + line + "\n", encoding="utf-8")
    reading = read_sources(SETTINGS, [path])[0]
    assert len(reading.rows) == 1
    assert reading.broken[0].place == "rows.jsonl:2"
    assert reason in reading.broken[0].reason


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.jsonl", None, "no data file"),
        ("empty.jsonl", b"", "holds no rows"),
        ("a.xlsx", b"x", "give .jsonl, .csv or .parquet"),
        ("a.jsonl", b"\xff\xfe\x00", "must be UTF-8"),
        ("a.parquet", b"no parquet", "cannot read"),
        ("b.jsonl", b'{"question": "a", "reply": "b"}', "set dataset.format"),
    ],
    ids=["missing", "empty", "unknown kind", "not UTF-8", "torn parquet", "unknown shape"],
)
def test_an_unusable_file_is_one_clear_error(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_sources(SETTINGS, [path])[0]


def test_a_json_list_is_read_and_an_odd_first_row_does_not_stop_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{}, SHAPES["alpaca"], 7]), encoding="utf-8")
    reading = read_sources(SETTINGS, [path])[0]
    assert len(reading.rows) == 1
    assert [b.place for b in reading.broken] == ["rows.json:1", "rows.json:3"]


def test_a_time_beyond_the_calendar_is_a_broken_row(tmp_path: Path) -> None:
    settings = DatasetSettings(sources=["x"], time_column="t")
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a", "completion": "b", "t": "9999-12-31T23:59:59-23:59"}\n', encoding="utf-8")
    assert [row.place for row in read_sources(settings, [path])[0].broken] == ["rows.jsonl:1"]


def test_a_cell_of_messages_is_a_conversation(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('prompt,completion\n"[{""role"": ""user"", ""content"": ""hi""}]",yo\n', encoding="utf-8")
    (row,) = read_sources(DatasetSettings(sources=["x"]), [path])[0].rows
    assert row.prompt == [{"role": "user", "content": "hi"}]


def test_a_group_is_one_however_its_number_is_written_and_a_gap_is_none(tmp_path: Path) -> None:
    rows = [("1", '"a"'), ("1.0", '"b"'), ('"1"', '"c"'), ("NaN", '"d"')]
    path = tmp_path / "rows.jsonl"
    lines = [f'{{"prompt": {text}, "completion": "x", "user": {user}}}\n' for user, text in rows]
    path.write_text("".join(lines), encoding="utf-8")
    reading = read_sources(SETTINGS, [path])[0]
    assert [row.group for row in reading.rows] == ["1", "1", "1", None]


def test_a_category_beside_an_answer_is_not_what_is_learned(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("question,answer,category\nWhere?,Here,place\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"dataset\.completion_column"):
        read_sources(DatasetSettings(sources=["x"]), [path])[0]
