"""Conversations of OpenAI's and ShareGPT's files are read whole: systems, tools, weights; what cannot be is named."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from driftwheel.settings.data import DatasetSettings
from train.data.sources.formats import Reading, read_sources

SETTINGS = DatasetSettings(sources=["x"])
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather in a town",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
ASKED = {"role": "user", "content": "Rain in Ulm?"}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Ulm"}'}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": '{"rain": true}'}
ADVICE = {"role": "assistant", "content": "Yes, take an umbrella."}


def read(folder: Path, *rows: Any) -> Reading:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return read_sources(SETTINGS, [path])[0]


def turn(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def test_openais_rows_with_tools_are_read_as_they_are(tmp_path: Path) -> None:
    told = turn("developer", "You are a weather desk.")
    (row,) = read(tmp_path, {"tools": [WEATHER], "messages": [told, ASKED, CALLING, RESULT, ADVICE]}).rows
    assert row.prompt == [told, ASKED, CALLING, RESULT]
    assert (row.completion, row.tools) == ([ADVICE], [WEATHER])


def test_a_call_of_a_tool_can_be_what_is_learned(tmp_path: Path) -> None:
    (row,) = read(tmp_path, {"tools": [WEATHER], "messages": [ASKED, CALLING]}).rows
    assert (row.prompt, row.completion) == ([ASKED], [CALLING])


def test_openais_older_functions_are_calls_of_tools(tmp_path: Path) -> None:
    called = {
        "role": "assistant",
        "content": None,
        "function_call": {"name": "weather", "arguments": '{"city": "Ulm"}'},
    }
    answered = {"role": "function", "name": "weather", "content": '{"rain": true}'}
    rows = {"functions": [WEATHER["function"]], "messages": [ASKED, called, answered, ADVICE]}
    (row,) = read(tmp_path, rows).rows
    assert row.tools == [WEATHER]
    assert row.prompt[1] == {**CALLING, "tool_calls": [{**CALL, "id": "call_0"}]}
    assert row.prompt[2] == {**RESULT, "tool_call_id": "call_0", "name": "weather"}


def test_sharegpts_calls_system_and_tools_are_read(tmp_path: Path) -> None:
    talk = [
        {"from": "human", "value": "Rain in Ulm?"},
        {"from": "function_call", "value": '{"name":"weather","arguments":{"city":"Ulm"}}'},
        {"from": "observation", "value": '{"rain": true}'},
        {"from": "gpt", "value": "Yes, take an umbrella."},
    ]
    rows = {"conversations": talk, "system": "You are a weather desk.", "tools": json.dumps([WEATHER["function"]])}
    (row,) = read(tmp_path, rows).rows
    assert row.prompt == [
        turn("system", "You are a weather desk."),
        ASKED,
        {**CALLING, "tool_calls": [{**CALL, "id": "call_0"}]},
        {**RESULT, "tool_call_id": "call_0"},
    ]
    assert (row.completion, row.tools) == ([ADVICE], [WEATHER])


@pytest.mark.parametrize(
    ("names", "roles"),
    [
        (["system", "human", "gpt"], ["user"]),
        (["gpt", "human", "gpt"], ["assistant", "user"]),
        (["user", "chatgpt"], ["user"]),
        (["Human", "bot"], ["user"]),
        (["prompter", "Assistant", "human", "model"], ["user", "assistant", "user"]),
    ],
    ids=["a system that says nothing", "an assistant first", "chatgpt", "bot", "model"],
)
def test_other_names_of_roles_are_read(tmp_path: Path, names: list[str], roles: list[str]) -> None:
    talk = [{"from": name, "value": "" if name == "system" else f"turn of {name}"} for name in names]
    (row,) = read(tmp_path, {"conversations": talk}).rows
    assert [message["role"] for message in row.prompt] == roles
    assert row.answer == f"turn of {names[-1]}"


@pytest.mark.parametrize("mark", [{"weight": 0}, {"train": False}, {"loss": False}, {"masked": True}, {"weight": 0.0}])
def test_a_turn_that_is_not_to_be_learned_is_not(tmp_path: Path, mark: dict[str, Any]) -> None:
    wrong, right = turn("assistant", "5", **mark), turn("assistant", "4", weight=1)
    asked, sure = turn("user", "2+2"), turn("user", "Sure?")
    reading = read(
        tmp_path,
        {"messages": [asked, wrong, sure, right]},
        {"messages": [asked, right, sure, wrong]},
        {"messages": [asked, wrong]},
    )
    first, second = reading.rows
    assert (first.answer, [m.get("weight") for m in first.prompt]) == ("4", [None, 0, None])
    assert (second.answer, len(second.prompt)) == ("4", 1)
    (broken,) = reading.broken
    assert broken.reason == "has no turn to learn: every turn of the assistant has weight 0"


PICTURE = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": [{**ASKED, "content": PICTURE}, ADVICE]}, "is of the type 'image_url'; only text"),
        ({"messages": [ASKED, ADVICE], "images": ["a.png"]}, "images cannot be learned from"),
        ({"messages": [ASKED, {**ADVICE, "loss_mask": [1, 0]}]}, "messages[1].loss_mask cannot be obeyed"),
        ({"messages": [ASKED, ADVICE], "loss_mask": [1, 0]}, "loss_mask cannot be obeyed"),
        ({"messages": [ASKED, {**ADVICE, "weight": 0.5}]}, "messages[1].weight is 0.5"),
        ({"messages": [{**ASKED, "weight": 1}, ADVICE]}, "wants the turn of a user learned"),
        ({"messages": [ASKED, {**ADVICE, "reasoning_content": "hm"}]}, "reasoning_content has no place"),
        ({"messages": [ASKED, RESULT, ADVICE]}, "answers the call 'c1', which no turn before it makes"),
        ({"messages": [ASKED, {**CALLING, "tool_calls": [{"function": {"arguments": "{}"}}]}]}, "names no function"),
        ({"messages": [ASKED, turn("function_call", "weather")]}, "is text, but not JSON"),
        ({"messages": [ASKED, turn("function_call", '{"name": "a", "arguments": [1]}')]}, "is no JSON object"),
        ({"messages": [ASKED, turn("function_call", '{"name": "a", "arguments": {"b": NaN}}')]}, "holds NaN"),
        (
            {"messages": [ASKED, turn("function_call", '{"name": "a", "arguments": "{\\"b\\": -Infinity}"}')]},
            "infinite",
        ),
        (
            {"messages": [ASKED, turn("function_call", '{"name": "a", "arguments": "{\\"b\\": \\"\\\\ud83d\\"}"}')]},
            "half of",
        ),
        (
            {"messages": [ASKED, CALLING], "tools": [{"type": "function", "function": {"name": "time"}}]},
            "calls the tool 'weather', and offers only time",
        ),
        ({"messages": [ASKED, ADVICE], "tools": [{"type": "retrieval", "function": {"name": "a"}}]}, "'retrieval'"),
        ({"messages": [ASKED, ADVICE], "tools": "weather"}, "tools is text, but not JSON"),
        ({"messages": [turn("system", "a"), ASKED, ADVICE], "system": "b"}, "begins with another system turn"),
        ({"messages": [ASKED, turn("assistant", "\ud83d umbrella")]}, "half of a surrogate pair"),
        ({"messages": [ASKED, turn("assistant", "a\0b")]}, "holds a NUL"),
        ({"messages": [ASKED, turn("narrator", "x")]}, "unknown role 'narrator'"),
        ({"messages": [ASKED]}, "holds no user turn followed by an assistant turn"),
        ({"conversation": [{"human": "Hi", "assistant": "Hello"}]}, "has no column 'messages'"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    reading = read(tmp_path, {"messages": [ASKED, ADVICE]}, row)
    assert len(reading.rows) == 1
    (broken,) = reading.broken
    assert broken.place == "rows.jsonl:2"
    assert reason in broken.reason


def test_parts_of_text_are_one_text(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "where is"}, {"type": "text", "text": "my card"}]
    (row,) = read(tmp_path, {"messages": [{**ASKED, "content": parts}, ADVICE]}).rows
    assert row.prompt[0]["content"] == "where is\nmy card"


def test_what_is_not_used_is_listed(tmp_path: Path) -> None:
    messages = [{**ASKED, "id": 7, "name": "Ann"}, {**ADVICE, "timestamp": "now", "refusal": None}]
    reading = read(tmp_path, {"messages": messages, "tools": [], "source": "forum", "empty": ""})
    assert reading.unused == {"source", "messages[].id", "messages[].timestamp"}
    assert reading.rows[0].prompt[0].get("name") == "Ann"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
WORDS = "role content from value tool_calls function_call tool_call_id name weight loss function arguments"
KEYS = st.sampled_from(WORDS.split())
ROLES = st.sampled_from(["user", "assistant", "system", "tool", "function_call", "gpt"])
TURN = st.fixed_dictionaries({"role": ROLES, "content": VALUES}) | st.dictionaries(KEYS, VALUES, max_size=5)
COLUMNS = {
    "messages": st.lists(TURN, max_size=4) | VALUES,
    "conversations": st.lists(TURN, max_size=4) | VALUES,
    **dict.fromkeys(("system", "tools", "prompt", "completion", "label", "text", "history", "references"), VALUES),
    **{name: st.lists(TURN, max_size=3) | VALUES for name in ("chosen", "rejected", "instruction", "output", "input")},
}


# Each is read in five kinds of file; how long that takes is no part of what is tested.
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=st.lists(st.fixed_dictionaries({}, optional=COLUMNS), min_size=1, max_size=4))
def test_every_record_is_a_row_or_named(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]) -> None:
    folder = tmp_path_factory.getbasetemp()
    for first in (
        {"messages": [ASKED, ADVICE]},
        {"prompt": "a", "completion": "b"},
        {"text": "a", "label": "b"},
        {"prompt": "a", "chosen": "b", "rejected": "c"},
        {"instruction": "a", "output": "b"},
    ):
        reading = read(folder, first, *rows)
        assert len(reading.rows) + len(reading.broken) == 1 + len(rows)
        for row in reading.rows:
            json.dumps([row.prompt, row.completion, row.tools, row.references], ensure_ascii=False).encode()


def test_a_call_that_is_not_learned_may_be_of_a_tool_that_is_offered_no_more(tmp_path: Path) -> None:
    row = {"messages": [ASKED, {**CALLING, "weight": 0}, RESULT, ADVICE], "tools": [{"function": {"name": "time"}}]}
    assert [found.answer for found in read(tmp_path, row).rows] == [ADVICE["content"]]
