"""Every split of a stream gives the same bytes and the same row."""

import json
from typing import Any

import pytest

from serve.relaying.capture import AnswerCapture, StreamCapture
from serve.relaying.usage_filter import UsageFilter

EVENTS = [
    b'data: {"choices":[{"index":0,"delta":{"content":"a\xc3\xa9"}}]}',
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}',
    b'data: {"choices":[],"usage":{"prompt_tokens":2,"completion_tokens":5}}',
    b"data: [DONE]",
]


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("keeps_usage", [False, True])
def test_a_stream_reads_the_same_however_it_is_split(end: bytes, keeps_usage: bool) -> None:
    stream = b"".join(event + end for event in EVENTS)
    expected = stream if keeps_usage else stream.replace(EVENTS[2] + end, b"")
    for at in range(len(stream) + 1):
        capture = StreamCapture(None if keeps_usage else UsageFilter(None))
        passed = capture.feed(stream[:at]) + capture.feed(stream[at:])
        assert b"[DONE]" not in passed
        assert passed + capture.held() == expected
        assert (capture.answer, capture.finish_reason, capture.is_done) == ("aé", "stop", True)
        assert (capture.prompt_tokens, capture.completion_tokens) == (2, 5)


@pytest.mark.parametrize(
    ("body", "answer", "mean_logprob", "error"),
    [
        ({"choices": [{"text": "hi", "logprobs": {"token_logprobs": [None, -1.0, -3.0]}}]}, "hi", -2.0, None),
        ({"choices": [{"message": {"content": "hi"}}, {"index": 1, "message": {"content": "no"}}]}, "hi", None, None),
        ({"error": {"message": "too long"}}, "", None, "too long"),
        (
            {"choices": [{"message": {"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}}]},
            '[{"name": "f", "arguments": "{}"}]',
            None,
            None,
        ),
    ],
    ids=["completion", "first-choice", "error", "tool-call"],
)
def test_a_whole_answer_gives_its_text(body: Any, answer: str, mean_logprob: float | None, error: str | None) -> None:
    capture = AnswerCapture()
    capture.read_json(json.dumps(body).encode())
    assert (capture.answer, capture.mean_logprob, capture.error) == (answer, mean_logprob, error)


FINGERPRINT = b',"system_fingerprint":"v1"'
"""Where vLLM writes it: at the end of a stream's last message."""


@pytest.mark.parametrize("known", ["v1", None], ids=["known", "not-yet-known"])
def test_the_fingerprint_of_a_usage_event_that_is_left_out_ends_each_choice(known: str | None) -> None:
    start = [b'data: {"choices":[{"index":%d,"delta":{"content":"a"},"finish_reason":null}]}\n\n' % n for n in (0, 1)]
    ends = [b'data: {"choices":[{"index":%d,"delta":{},"finish_reason":"stop"}]}\n\n' % n for n in (0, 1)]
    marked = [end[:-3] + FINGERPRINT + end[-3:] for end in ends]
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":2}%b}\n\n' % FINGERPRINT
    done = b"data: [DONE]\n\n"
    stream = b"".join([start[0], ends[0], start[1], ends[1], usage, done])
    for at in range(len(stream) + 1):
        usage_filter = UsageFilter(known)
        capture = StreamCapture(usage_filter)
        passed = capture.feed(stream[:at]) + capture.feed(stream[at:])
        assert passed == b"".join([start[0], marked[0], start[1], marked[1]])
        assert (capture.held(), usage_filter.fingerprint) == (done, "v1")


def test_a_stream_without_usage_keeps_every_event() -> None:
    stream = (
        b'data: {"choices":[{"index":0,"finish_reason":"stop"}]}\n\n: alive\n\ndata: {"error":{}}\n\ndata: [DONE]\n\n'
    )
    for known in ("v1", "", None):
        capture = StreamCapture(UsageFilter(known))
        expected = stream.replace(b"}]}", b"}]" + FINGERPRINT + b"}") if known else stream
        assert capture.feed(stream) + capture.held() == expected


@pytest.mark.parametrize(
    "odd",
    [
        {
            "choices": [
                {"delta": {"tool_calls": 5}},
                {"delta": {"tool_calls": [{"index": [], "function": {"name": 1}}]}},
            ],
            "usage": {"prompt_tokens": -1, "completion_tokens": "7"},
        },
        {"choices": [{"logprobs": {"token_logprobs": 3, "content": 4}}, {"logprobs": {"token_logprobs": [10**400]}}]},
        {"object": "response", "output": [{"type": "message", "content": 7}], "incomplete_details": "x"},
        {"object": "response", "output": [{"type": "message", "content": [{"text": "a", "logprobs": True}]}]},
    ],
    ids=["tools", "logprobs", "response", "response-logprobs"],
)
def test_an_answer_of_odd_types_is_read_as_far_as_it_goes(odd: Any) -> None:
    capture = AnswerCapture()
    capture.read_json(json.dumps(odd).encode())
    assert capture.is_done


def test_an_error_ends_a_streamed_response() -> None:
    capture = StreamCapture()
    assert capture.feed(stream := events({"type": "error", "message": "boom"})) == b""
    assert (capture.held(), capture.is_done, capture.error) == (stream, True, "boom")


RESPONSE: dict[str, Any] = {
    "object": "response",
    "status": "completed",
    "usage": {"input_tokens": 4, "output_tokens": 6},
    "output": [
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "message", "content": [{"type": "output_text", "text": "blue", "logprobs": [{"logprob": -0.5}]}]},
        {"type": "function_call", "name": "f", "arguments": "{}"},
    ],
}


def events(*values: dict[str, Any]) -> bytes:
    return b"".join(f"event: {v['type']}\ndata: {json.dumps(v)}\n\n".encode() for v in values)


def test_a_whole_response_gives_its_text_usage_and_end() -> None:
    capture = AnswerCapture()
    capture.read_json(json.dumps(RESPONSE).encode())
    assert (capture.answer, capture.mean_logprob, capture.finish_reason) == ("blue", -0.5, "stop")
    assert (capture.prompt_tokens, capture.completion_tokens) == (4, 6)
    cut = AnswerCapture()
    cut.read_json(json.dumps({**RESPONSE, "incomplete_details": {"reason": "max_output_tokens"}}).encode())
    assert cut.finish_reason == "length"
    calls = AnswerCapture()
    calls.read_json(json.dumps({**RESPONSE, "output": RESPONSE["output"][2:]}).encode())
    assert calls.answer == '[{"name": "f", "arguments": "{}"}]'


def test_the_log_keeps_text_and_tool_calls_of_one_answer() -> None:
    capture = AnswerCapture()
    capture.read_json(json.dumps(RESPONSE).encode())
    assert capture.logged == 'blue\n[{"name": "f", "arguments": "{}"}]'
    assert AnswerCapture().logged == ""


def test_a_streamed_response_is_read_from_its_last_event_which_is_held() -> None:
    parts = [{"type": "response.output_text.delta", "delta": text} for text in ("bl", "ue")]
    stream = events(
        {"type": "response.created", "response": {}}, *parts, {"type": "response.completed", "response": RESPONSE}
    )
    for at in range(len(stream) + 1):
        capture = StreamCapture()
        passed = capture.feed(stream[:at]) + capture.feed(stream[at:])
        assert b"response.completed" not in passed
        assert passed + capture.held() == stream
        assert (capture.answer, capture.completion_tokens, capture.is_done) == ("blue", 6, True)
    broken = StreamCapture()
    broken.feed(events(*parts[:1]))
    assert (broken.answer, broken.is_done) == ("bl", False)


def test_long_answers_are_kept_whole() -> None:
    capture = StreamCapture()
    for number in range(2000):
        capture.feed(b'data: {"choices":[{"delta":{"content":"%d,"}}]}\n\n' % number)
    assert capture.answer == "".join(f"{number}," for number in range(2000))
