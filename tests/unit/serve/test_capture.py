"""Every split of a stream gives the same bytes and the same row."""

import json
from typing import Any

import pytest

from serve.capture import AnswerCapture, StreamCapture, prompt_of
from serve.rewrite import read_call

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
        capture = StreamCapture(keeps_usage=keeps_usage)
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
        ({"choices": [{"message": {"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}}]},
         '[{"name": "f", "arguments": "{}"}]', None, None),
    ],
    ids=["completion", "first-choice", "error", "tool-call"],
)  # fmt: skip
def test_a_whole_answer_gives_its_text(body: Any, answer: str, mean_logprob: float | None, error: str | None) -> None:
    capture = AnswerCapture()
    capture.read_json(json.dumps(body).encode())
    assert (capture.answer, capture.mean_logprob, capture.error) == (answer, mean_logprob, error)


@pytest.mark.parametrize(
    ("fields", "prompt"),
    [
        ({"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}, "b"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]}]}, "a"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, ""),
        ({"prompt": "p"}, "p"),
        ({"prompt": ["p", "q"]}, "p\nq"),
        ({"prompt": [1, 2]}, ""),
        ({"messages": 3}, ""),
    ],
    ids=["last-user", "parts", "no-user", "completion", "batch", "tokens", "nonsense"],
)
def test_the_prompt_is_what_the_user_wrote_last(fields: dict[str, Any], prompt: str) -> None:
    assert prompt_of(fields) == prompt


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        ('{"model":"a","x":1e400}', '{"model":"v1","x":1e400}'),
        (' { "x" : {"model":"a"} , "model" : "a" } ', ' { "x" : {"model":"a"} , "model" : "v1" } '),
        ('{"model":"b","model":"a"}', '{"model":"v1","model":"v1"}'),
        ('{"model":"a","stream":true}', '{"stream_options":{"include_usage": true},"model":"v1","stream":true}'),
        ('{"stream_options":null,"stream":true,"model":"a"}',
         '{"stream_options":{"include_usage": true},"stream":true,"model":"v1"}'),
        ('{"model":"a","stream":true,"stream_options":{"include_usage":true}}',
         '{"model":"v1","stream":true,"stream_options":{"include_usage":true}}'),
    ],
    ids=["number", "nested", "twice", "usage-added", "usage-replaced", "usage-asked"],
)  # fmt: skip
def test_only_model_and_usage_option_change(body: str, sent: str) -> None:
    assert read_call(body.encode()).body_for("v1") == sent.encode()
