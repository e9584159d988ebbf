"""A logged request is read as the conversation that the model was asked, or refused by the name of what it holds."""

import json
from typing import Any

import pytest

from driftwheel.text.asked import UnreadableRequestError, read_answer, read_asked
from driftwheel.text.conversations import Message, said

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
WEATHER = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Ulm"}'}}
CALLING: Message = {"role": "assistant", "content": None, "tool_calls": [CALL]}  # type: ignore[list-item]
RESULT: Message = {"role": "tool", "content": '{"rain": true}', "tool_call_id": "c1"}
USER = {"role": "user", "content": "hi"}


def parts(*texts: str, kind: str = "text") -> list[dict[str, str]]:
    return [{"type": kind, "text": text} for text in texts]


def call_item(city: str, call_id: str = "c1") -> dict[str, str]:
    arguments = json.dumps({"city": city})
    return {"type": "function_call", "call_id": call_id, "name": "weather", "arguments": arguments}


READ: dict[str, tuple[dict[str, Any], list[Message]]] = {
    "content parts beside a system text": (
        {
            "messages": [
                said("system", "Answer with one intent."),
                {"role": "user", "content": parts("where is", "my card")},
            ]
        },
        [said("system", "Answer with one intent."), said("user", "where is\nmy card")],
    ),
    "developer role, tool call and its result": (
        {
            "messages": [
                said("developer", "Be brief."),
                said("user", "Rain?"),
                CALLING,
                {**RESULT, "content": parts("yes")},
            ]
        },
        [said("developer", "Be brief."), said("user", "Rain?"), CALLING, {**RESULT, "content": "yes"}],
    ),
    "names, and words beside a tool call": (
        {"messages": [{**USER, "name": "ann"}, {**CALLING, "content": "I look."}, RESULT]},
        [{"role": "user", "content": "hi", "name": "ann"}, {**CALLING, "content": "I look."}, RESULT],
    ),
    "what the official client sends back": (
        {
            "messages": [
                USER,
                {"role": "assistant", "content": "hey", "refusal": None, "tool_calls": None, "audio": None},
                USER,
            ]
        },
        [said("user", "hi"), said("assistant", "hey"), said("user", "hi")],
    ),
    "a tool call without arguments": (
        {
            "messages": [
                USER,
                {**CALLING, "tool_calls": [{**CALL, "function": {"name": "now", "arguments": ""}}]},
                RESULT,
            ]
        },
        [
            said("user", "hi"),
            {
                **CALLING,
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "now", "arguments": "{}"}}],
            },
            RESULT,
        ],
    ),
    "a responses text": (
        {"instructions": "Be brief.", "input": "hi"},
        [said("system", "Be brief."), said("user", "hi")],
    ),
    "a responses history": (
        {
            "input": [
                {"role": "user", "content": parts("one", "two", kind="input_text")},
                {"type": "message", "role": "assistant", "content": parts("hi", kind="output_text"), "id": "m"},
                {"role": "developer", "content": "Be kind."},
                {"role": "user", "content": "close my account"},
            ]
        },
        [
            said("user", "one\ntwo"),
            said("assistant", "hi"),
            said("developer", "Be kind."),
            said("user", "close my account"),
        ],
    ),
    "responses with tool calls and their results": (
        {
            "input": [
                {"role": "user", "content": "Rain?"},
                call_item("Ulm"),
                call_item("Bonn", "c2"),
                {"type": "function_call_output", "call_id": "c1", "output": '{"rain": true}'},
                {"type": "function_call_output", "call_id": "c2", "output": parts("no", kind="input_text")},
            ]
        },
        [
            said("user", "Rain?"),
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Ulm"}'}},
                    {"id": "c2", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bonn"}'}},
                ],
            },
            RESULT,
            {"role": "tool", "content": "no", "tool_call_id": "c2"},
        ],
    ),
}


@pytest.mark.parametrize(("body", "messages"), READ.values(), ids=READ.keys())
def test_a_request_is_read_as_what_was_asked(body: dict[str, Any], messages: list[Message]) -> None:
    assert read_asked(json.dumps({"model": "support", **body})).messages == messages


def test_tools_of_both_routes_are_the_same() -> None:
    chat = read_asked(json.dumps({"messages": [USER], "tools": [{"type": "function", "function": WEATHER}]}))
    responses = read_asked(json.dumps({"input": "hi", "tools": [{"type": "function", **WEATHER}]}))
    assert chat == responses
    assert chat.tools == [{"type": "function", "function": WEATHER}]


def user_part(part: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [*parts("what is this"), part]}]}


REFUSED: dict[str, tuple[Any, str]] = {
    "image": (user_part({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}), "an image"),
    "input image": ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}, "an image"),
    "audio": (user_part({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}), "audio"),
    "file": (user_part({"type": "file", "file": {"file_id": "f"}}), "a file"),
    "another part": (user_part({"type": "hologram"}), "a part that is no text"),
    "function role": ({"messages": [USER, {"role": "function", "name": "f", "content": "x"}]}, "a function's turn"),
    "unknown role": ({"messages": [{"role": "robot", "content": "x"}]}, "a turn of an unknown role"),
    "refusal": ({"messages": [USER, {"role": "assistant", "refusal": "no"}, USER]}, "a refusal of an earlier turn"),
    "reasoning": (
        {"messages": [USER, {"role": "assistant", "content": "a", "reasoning_content": "so"}, USER]},
        "reasoning of an earlier turn",
    ),
    "an answer begun": ({"messages": [USER, said("assistant", "It")]}, "an assistant's turn at its end"),
    "custom call": (
        {"messages": [USER, {**CALLING, "tool_calls": [{"id": "c", "type": "custom"}]}, RESULT]},
        "a tool call that is no function's",
    ),
    "odd arguments": (
        {
            "messages": [
                USER,
                {**CALLING, "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "[]"}}]},
                RESULT,
            ]
        },
        "a tool call whose arguments are no JSON object",
    ),
    "custom tool": ({"messages": [USER], "tools": [{"type": "custom", "custom": {}}]}, "a tool that is no function"),
    "hosted tool": ({"input": "hi", "tools": [{"type": "web_search"}]}, "a tool that is no function"),
    "functions": ({"messages": [USER], "functions": [WEATHER]}, "functions, which tools have replaced"),
    "earlier response": (
        {"input": "and now?", "previous_response_id": "resp_1"},
        "an earlier response, of which it holds only the id",
    ),
    "reasoning item": ({"input": [{"type": "reasoning", "summary": []}]}, "reasoning of an earlier turn"),
    "another item": (
        {"input": [{"type": "computer_call_output"}]},
        "an input item that is neither message nor tool call",
    ),
    "two texts in one answer": (
        {"input": [USER, {"role": "assistant", "content": parts("a", "b", kind="output_text")}, USER]},
        "several texts in one answer, of which vLLM reads the first",
    ),
    "completion": ({"prompt": "Once upon a time"}, "a text to complete, which has no turns"),
    "empty": ({"messages": []}, "no messages"),
    "surrogate": ({"messages": [said("user", "a\ud800b")]}, "text that is no Unicode"),
    "no object": ([1], "a body that is no JSON object"),
}


@pytest.mark.parametrize(("body", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_learned_is_refused_by_name(body: Any, reason: str) -> None:
    with pytest.raises(UnreadableRequestError) as caught:
        read_asked(json.dumps(body))
    assert str(caught.value) == reason


def test_an_embedding_and_a_broken_body_are_refused() -> None:
    with pytest.raises(UnreadableRequestError, match="to embed"):
        read_asked('{"input": "hi"}', "/v1/embeddings")
    with pytest.raises(UnreadableRequestError, match="no JSON"):
        read_asked("{")


def test_an_answer_is_a_call_only_of_the_requests_tools() -> None:
    tools: list[dict[str, object]] = [{"type": "function", "function": WEATHER}]
    logged = '[{"name": "weather", "arguments": "{\\"city\\": \\"Ulm\\"}"}]'
    written = 'I look.\n[{"name": "weather", "arguments": {"city": "Ulm"}}]'
    call = {"id": "call00000", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Ulm"}'}}
    assert read_answer(logged, tools) == {"role": "assistant", "content": None, "tool_calls": [call]}
    assert read_answer(written, tools) == {"role": "assistant", "content": "I look.", "tool_calls": [call]}
    for text in (logged.replace("weather", "moon"), "[1]", "[]", '[{"name": "weather"}]', "Sunny."):
        assert read_answer(text, tools) == said("assistant", text)
    assert read_answer(logged, []) == said("assistant", logged)
