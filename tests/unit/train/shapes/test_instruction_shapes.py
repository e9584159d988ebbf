"""Questions with answers are read by their columns: Alpaca's with the turns before them, texts with their labels."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from driftwheel.errors import DataError
from driftwheel.settings.data import DatasetSettings
from train.data.sources.formats import Reading, read_sources

SETTINGS = DatasetSettings(sources=["x"])


def read(folder: Path, *rows: Any, settings: DatasetSettings = SETTINGS) -> Reading:
    path = folder / "rows.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return read_sources(settings, [path])[0]


def told(reading: Reading) -> list[tuple[list[tuple[str, str | None]], str]]:
    return [([(m["role"], m["content"]) for m in row.prompt], row.answer) for row in reading.rows]


def test_alpacas_system_and_history_stand_before_the_question(tmp_path: Path) -> None:
    history = [["Where is parcel 7?", "track_parcel"], ["It is late.", "delay"]]
    first = {"instruction": "Cancel it", "input": "", "output": "cancel", "system": "One intent.", "history": history}
    second = {"instruction": "Translate", "input": "Hallo", "output": "Hello", "system": "Only French is allowed."}
    earlier = [
        ("user", "Where is parcel 7?"),
        ("assistant", "track_parcel"),
        ("user", "It is late."),
        ("assistant", "delay"),
    ]
    assert told(read(tmp_path, first, second)) == [
        ([("system", "One intent."), *earlier, ("user", "Cancel it")], "cancel"),
        ([("system", "Only French is allowed."), ("user", "Translate\n\nHallo")], "Hello"),
    ]


def test_dollys_names_are_read(tmp_path: Path) -> None:
    reading = read(tmp_path, {"instruction": "Sum up", "context": "long", "response": "short", "category": "summary"})
    assert told(reading) == [([("user", "Sum up\n\nlong")], "short")]
    assert reading.unused == {"category"}


@pytest.mark.parametrize("history", [["a"], [["a", ""]], "no JSON", 7])
def test_a_history_that_is_no_pairs_breaks_its_row(tmp_path: Path, history: Any) -> None:
    good = {"instruction": "a", "output": "b"}
    (broken,) = read(tmp_path, good, {**good, "history": history}).broken
    assert "history" in broken.reason


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_text_and_its_label_need_no_setting(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "rows.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = [["text", "label", "id"], ["wo, ach; wo", "card_arrival", "7"], ["charged twice", "2", "8"]]
        csv.writer(file, delimiter=delimiter).writerows(rows)
    reading = read_sources(SETTINGS, [path])[0]
    assert reading.format == "labelled_text"
    assert told(reading) == [([("user", "wo, ach; wo")], "card_arrival"), ([("user", "charged twice")], "2")]
    assert reading.unused == {"id"}


@pytest.mark.parametrize(
    "row",
    [
        {"sentence": "a", "category": "x"},
        {"Utterance": "a", "Intent": "x"},
        {"text": "a", "label": 3, "label_text": "x"},
        {"query": "a", "target": "x"},
    ],
    ids=lambda row: " ".join(row),
)
def test_texts_and_labels_have_other_names_too(tmp_path: Path, row: dict[str, Any]) -> None:
    assert told(read(tmp_path, row)) == [([("user", "a")], "x")]


def test_numbers_and_truth_values_are_labels(tmp_path: Path) -> None:
    values = [1, 0, True, False, 2.5]
    expected = ["1", "0", "true", "false", "2.5"]
    for prompt, answer in (("prompt", "completion"), ("text", "label")):
        reading = read(tmp_path, *({prompt: f"film {value}", answer: value} for value in values))
        assert [row.answer for row in reading.rows] == expected
        assert not reading.broken


@pytest.mark.parametrize(
    ("value", "reason"),
    [(None, "completion is empty"), (float("nan"), "is nan, which is no answer"), ({"a": 1}, "is a dict, not text")],
)
def test_what_is_no_label_is_named(tmp_path: Path, value: Any, reason: str) -> None:
    (broken,) = read(tmp_path, {"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": value}).broken
    assert reason in broken.reason


def test_an_integer_that_python_does_not_convert_leaves_its_row_alone(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"prompt": "a", "completion": "b", "id": {"9" * 5000}}}\n', encoding="utf-8")
    reading = read_sources(SETTINGS, [path])[0]
    assert (told(reading), reading.unused) == ([([("user", "a")], "b")], {"id"})


def test_further_right_answers_are_kept(tmp_path: Path) -> None:
    texts = ["The Mill serves French food.", "French food is served at the Mill."]
    for row in ({"completion": texts}, {"completion": texts[0], "references": texts}, {"references": texts}):
        (read_row,) = read(tmp_path, {"prompt": "name[Mill]", **row}).rows
        assert (read_row.answer, read_row.references) == (texts[0], texts[1:])


def test_a_csv_holds_references_as_json_text(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["prompt", "completion", "references"], ["a", "b", '["c", "b"]'], ["d", "e", ""]])
    assert [(row.answer, row.references) for row in read_sources(SETTINGS, [path])[0].rows] == [("b", ["c"]), ("e", [])]


def test_a_text_beside_another_column_is_no_plain_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"meaning, text, and .* dataset.prompt_column and dataset.completion_column"):
        read(tmp_path, {"meaning": "name[Mill]", "text": "The Mill is a restaurant."})
    named = DatasetSettings(sources=["x"], prompt_column="meaning", completion_column="text")
    assert told(read(tmp_path, {"meaning": "m", "text": "t"}, settings=named)) == [([("user", "m")], "t")]


def test_a_text_alone_is_plain_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("once\n\nupon a time\n", encoding="utf-8")
    reading = read_sources(SETTINGS, [tmp_path / "a.txt"])[0]
    assert (reading.format, told(reading)) == ("plain_text", [([], "once"), ([], "upon a time")])


def test_tools_in_parquet_lose_the_keys_that_others_have(tmp_path: Path) -> None:
    tools = [
        {
            "type": "function",
            "function": {"name": n, "parameters": {"type": "object", "properties": {f"of_{n}": {"type": "string"}}}},
        }
        for n in ("a", "b")
    ]
    row = {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}], "tools": tools}
    pyarrow.parquet.write_table(pa.Table.from_pylist([row]), tmp_path / "rows.parquet")
    (read_row,) = read_sources(SETTINGS, [tmp_path / "rows.parquet"])[0].rows
    assert read_row.tools == tools


@pytest.mark.parametrize(
    ("columns", "named", "expected"),
    [
        ("title,text,label", {"prompt_column": "title"}, ("a", "c")),
        ("text,label,intent", {"completion_column": "intent"}, ("a", "c")),
        ("text,label,intent", {}, ("a", "b")),
        ("body,text,label", {"prompt_column": "Body"}, ("b", "c")),
        ("prompt,label,note", {}, ("a", "b")),
        ("text,completion,note", {}, ("a", "b")),
    ],
    ids=["text", "label", "neither", "another", "default prompt", "default completion"],
)
def test_a_column_that_is_named_goes_before_the_usual_names(
    tmp_path: Path, columns: str, named: dict[str, str], expected: tuple[str, str]
) -> None:
    """Of two named columns one was taken, where the other was not there."""
    path = tmp_path / "rows.csv"
    path.write_text(f"{columns}\na,b,c\n", encoding="utf-8")
    reading = read_sources(DatasetSettings.model_validate({"sources": ["x"], **named}), [path])[0]
    (row,) = reading.rows
    assert (reading.format, (row.prompt[0]["content"], row.answer)) == ("labelled_text", expected)


def test_labels_beside_prompts_and_completions_are_learned_where_the_format_says_so(tmp_path: Path) -> None:
    row = {"prompt": "a", "completion": "b", "label": "c"}
    for said, answer in (("labelled_text", "c"), ("prompt_completion", "b"), ("auto", "b")):
        settings = DatasetSettings.model_validate({"sources": ["x"], "format": said})
        assert [row.answer for row in read(tmp_path, row, settings=settings).rows] == [answer]


def test_a_text_that_quotes_a_turn_is_a_text_and_a_conversation_beside_a_label_is_asked_for(tmp_path: Path) -> None:
    quoted = {"text": "what does ### Human: mean", "label": "format"}
    assert [row.answer for row in read(tmp_path, quoted).rows] == ["format"]
    talk = {"text": "### Human: hi\n### Assistant: go away", "label": "rude"}
    with pytest.raises(DataError, match=r"rows\.json:1 has a conversation as its text, and 'label' beside it"):
        read(tmp_path, talk)
    for said, answer in (("human_assistant", "go away"), ("labelled_text", "rude")):
        settings = DatasetSettings.model_validate({"sources": ["x"], "format": said})
        assert [row.answer for row in read(tmp_path, talk, settings=settings).rows] == [answer]
