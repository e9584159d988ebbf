"""A row of a split comes back from its file as it was, also from a file that an older driftwheel wrote."""

import json
from pathlib import Path

from driftwheel.text.conversations import Message, said
from train.data.examples import Example, read_examples

CALL: Message = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Ulm"}'}}],
}
PLAIN = Example("a", [said("system", "Be brief."), said("user", "hi")], [said("assistant", "{}")], "x", "g")
TOLD = Example(
    "b",
    [said("developer", "Be brief."), said("user", "Rain?"), CALL, {**said("tool", "yes"), "tool_call_id": "c1"}],
    [CALL],
    None,
    "g",
    tools=[{"type": "function", "function": {"name": "weather"}}],
    references=["Yes."],
)
OLD_KEYS = ["id", "prompt", "completion", "label", "group", "source", "slice", "time", "original", "model"]


def test_a_row_comes_back_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row.as_line()) + "\n" for row in (PLAIN, TOLD)), encoding="utf-8")
    assert read_examples(path) == [PLAIN, TOLD]


def test_a_plain_row_is_written_as_it_always_was() -> None:
    assert list(PLAIN.as_line()) == OLD_KEYS
    assert list(TOLD.as_line()) == [*OLD_KEYS, "tools", "references"]


def test_texts_of_a_row_hold_all_that_was_said_but_the_instructions() -> None:
    assert (TOLD.text, PLAIN.conversation, PLAIN.answers) == ("Rain?", "hi", ["{}"])
    assert TOLD.conversation == 'Rain?\n[{"arguments": {"city": "Ulm"}, "name": "weather"}]\nyes'
    assert TOLD.answers == ['[{"arguments": {"city": "Ulm"}, "name": "weather"}]', "Yes."]
