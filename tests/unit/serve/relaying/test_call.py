"""What a client sends is bounded, read for routing and the log, and changed in two places only."""

import json
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from serve.refusals import RequestRefused
from serve.relaying.call import prompt_of, read_call, truth


@pytest.mark.parametrize(
    ("fields", "prompt"),
    [
        ({"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}, "b"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]}]}, "a"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, ""),
        ({"prompt": "p"}, "p"),
        ({"prompt": ["p", "q"]}, "p\nq"),
        ({"input": "i"}, "i"),
        ({"input": ["i", "j"]}, "i\nj"),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "i"}]}, {"type": "x"}]}, "i"),
        ({"prompt": [1, 2]}, ""),
        ({"messages": 3}, ""),
    ],
    ids=[
        "last-user",
        "parts",
        "no-user",
        "completion",
        "batch",
        "input",
        "inputs",
        "input-items",
        "tokens",
        "nonsense",
    ],
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
        (
            '{"stream_options":null,"stream":true,"model":"a"}',
            '{"stream_options":{"include_usage": true},"stream":true,"model":"v1"}',
        ),
        (
            '{"model":"a","stream":true,"stream_options":{"include_usage":true}}',
            '{"model":"v1","stream":true,"stream_options":{"include_usage":true}}',
        ),
        (
            '{"model":"a","stream":true,"stream_options":{"include_usage":"on"}}',
            '{"model":"v1","stream":true,"stream_options":{"include_usage":"on"}}',
        ),
        (
            '{"model":"a","stream":true,"stream_options":{"continuous_usage_stats":1}}',
            '{"model":"v1","stream":true,"stream_options":{"continuous_usage_stats": false, "include_usage": true}}',
        ),
        ('{"model":"a","stream":"Yes"}', '{"stream_options":{"include_usage": true},"model":"v1","stream":"Yes"}'),
        ('{"model":"a","stream":2}', '{"model":"v1","stream":2}'),
        (
            '{"model":"a","stream":1,"stream_options":{"include_usage":[]}}',
            '{"model":"v1","stream":1,"stream_options":{"include_usage":[]}}',
        ),
    ],
    ids=[
        "number",
        "nested",
        "twice",
        "usage-added",
        "usage-replaced",
        "usage-asked",
        "usage-asked-loosely",
        "usage-of-each-event-not-asked",
        "stream-loosely",
        "stream-refused-by-the-engine",
        "option-refused-by-it",
    ],
)
def test_only_model_and_usage_option_change(body: str, sent: str) -> None:
    assert read_call(body.encode(), "/v1/chat/completions").body_for("v1", "req_1") == sent.encode()


@pytest.mark.parametrize("value", [True, 0, 1.0, 2, "On", "oFF", " true", "y", "F", "maybe", "", None, [], {}, 0.5])
def test_a_truth_value_is_read_as_the_engine_will(value: Any) -> None:
    try:
        expected = TypeAdapter(bool).validate_python(value)
    except ValidationError:
        expected = None
    assert truth(value) is expected


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b'{"model":"a","x":' + b"[" * 100 + b"]" * 100 + b"}", "deeper"),
        (b'{"model":"a","x":' + b'{"y":' * 100 + b"1" + b"}" * 101, "deeper"),
        (b'{"model":"a","x":[' + b"[]," * 30_000 + b"1]}", "over 20000"),
        (b'{"model":"a","n":1000000000}', "n is over"),
        (b'{"model":"a","n":"1000000000"}', "n is over"),
        (b'{"model":"a","max_tokens":1%b}' % (b"0" * 400), "max_tokens is over"),
        (b'{"model":"a","max_tokens":1e300}', "max_tokens is over"),
        (b'{"model":"a","x":' + b"[" * 5000, "JSON"),
        (b'{"model":"a","background":true}', "background"),
    ],
    ids=["lists", "objects", "many", "n", "n-as-text", "huge-number", "max-tokens", "unclosed", "background"],
)
def test_a_body_out_of_bounds_is_refused(body: bytes, word: str) -> None:
    with pytest.raises(RequestRefused, match=word) as refused:
        read_call(body, "/v1/responses")
    assert refused.value.status == 400


def test_depth_counts_lists_and_objects_alike() -> None:
    def body(levels: int) -> bytes:
        return b'{"model":"a","x":%b1%b}' % (b'[{"y":' * (levels // 2), b"}]" * (levels // 2))

    assert read_call(body(62), "/v1/completions").model == "a"
    with pytest.raises(RequestRefused, match="deeper"):
        read_call(body(64), "/v1/completions")


def test_brackets_in_texts_are_not_depth() -> None:
    text = json.dumps({"model": "a", "x": ["[" * 500 + '\\"{' * 500, "\\\\" + "]" * 100], "y": [[]] * 100})
    assert read_call(text.encode(), "/v1/completions").model == "a"


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        ('{ "model":"a","input":"b"}', '{"request_id":"resp_req_1", "model":"v1","input":"b"}'),
        ('{"model":"a","input":{"model":"c"}}', '{"request_id":"resp_req_1","model":"v1","input":{"model":"c"}}'),
        ('{"model":"a","request_id":"resp_mine"}', '{"model":"v1","request_id":"resp_mine"}'),
        ('{"model":"a","stream":true}', '{"request_id":"resp_req_1","model":"v1","stream":true}'),
    ],
    ids=["named", "scanned", "has-its-own", "stream"],
)
def test_a_response_is_given_the_requests_id(body: str, sent: str) -> None:
    call = read_call(body.encode(), "/v1/responses")
    assert call.body_for("v1", "req_1") == sent.encode()
    assert call.as_it_came().body_for("a", "req_1") == body.encode()
