"""Messages keep what they say, whoever asks for them: a trainer, an endpoint, a chat template."""

import json

from driftwheel.text.conversations import Message, is_learned, last_text, said, text_of, to_render, to_send, with_text

CALL: Message = {
    "role": "assistant",
    "content": "I look it up.",
    "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Ulm", "at": 7}'}}
    ],
    "weight": 0,
}
RESULT: Message = {"role": "tool", "tool_call_id": "c1", "content": '{"rain": true}'}


def test_a_text_says_which_tools_were_called_with_what() -> None:
    words, calls = text_of(CALL).split("\n")
    assert words == "I look it up."
    assert json.loads(calls) == [{"name": "weather", "arguments": {"city": "Ulm", "at": 7}}]
    assert text_of({**CALL, "content": None}) == calls


def test_an_endpoint_sees_no_weight_and_a_template_sees_arguments_as_objects() -> None:
    (sent,), (rendered,) = to_send([CALL]), to_render([CALL])
    assert "weight" not in sent
    assert "weight" not in rendered
    assert sent["tool_calls"] == CALL["tool_calls"]
    assert rendered["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": {"city": "Ulm", "at": 7}}}
    ]
    assert CALL["weight"] == 0


def test_only_an_assistants_turn_of_weight_is_learned() -> None:
    assert [is_learned(m) for m in (said("assistant", "a"), said("user", "b"), CALL)] == [True, False, False]


def test_the_last_text_of_a_role_and_another_text_in_its_place() -> None:
    turns = [said("user", "one"), CALL, RESULT, said("user", "two")]
    assert (last_text(turns), last_text(turns, "tool"), last_text(turns, "system")) == ("two", '{"rain": true}', "")
    assert with_text(RESULT, "x") == {**RESULT, "content": "x"}
