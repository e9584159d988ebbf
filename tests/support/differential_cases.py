"""Requests from a seed that a gateway must pass on unchanged, and a table of those that it must not.

What a gateway changes on purpose is written down here a second time, with its reason; nothing is shared with serve/.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
TEXTS = [
    "where is my parcel",
    "i was charged twice",
    "",
    " ",
    "a",
    "naïve café 漢字 🎉🏽",
    "\u202eright to left",
    "tab\tline\n",
    'quotes " and \\ and \u0007',
    "zero\u0000byte",
    '{"json": [1, 2]}',
    "data: [DONE]",
    "<|im_end|>",
    "ß" * 40,
    "word " * 60,
    "long " * 400,
    "é" * 900,
]
OBJECT = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "look_up", "description": "find ü", "parameters": OBJECT}}
NAMED = {"type": "function", "function": {"name": "look_up"}}
ODD: list[Any] = [None, True, -1, 0, 1e308, 0.5, "", "x", "1", [], [None], {}, {"a": None}, 10**30]
HUGE = (1e308, 10**30)
USAGE: list[Any] = [
    {"include_usage": True},
    {"include_usage": False},
    {},
    None,
    {"include_usage": True, "x": 1},
    {"include_usage": True, "continuous_usage_stats": True},
    {"continuous_usage_stats": True},
    {"include_usage": 1},
    {"include_usage": "true"},
    {"include_usage": None},
    {"include_usage": "maybe"},
    [],
    "yes",
    {"include_usage": {}},
]
SAMPLING: dict[str, list[Any]] = {
    "top_p": [0.5, 1, 1.0, 0.999],
    "top_k": [1, 5, -1],
    "min_p": [0.0, 0.1],
    "presence_penalty": [0.5, -2],
    "frequency_penalty": [1.5, 0],
    "repetition_penalty": [1.1],
    "logit_bias": [{"5": -100}, {"7": 20.0}, {}],
    "stop": ["a", [" ", "."], [], None],
    "stop_token_ids": [[5], []],
    "include_stop_str_in_output": [True],
    "ignore_eos": [True, False],
    "min_tokens": [1, 0],
    "skip_special_tokens": [False],
    "n": [1, 2, 3],
    "spaces_between_special_tokens": [False],
    "user": ["u1", "ü"],
    "priority": [0],
    "unknown_field": [{"a": [1.10]}],
    "return_token_ids": [True],
    "prompt_logprobs": [1],
    "cache_salt": ["s"],
    "bad_words": [["card"]],
}
SHAPED: list[dict[str, Any]] = [
    {"response_format": {"type": "json_object"}},
    {"response_format": {"type": "text"}},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "r", "schema": OBJECT, "strict": True}}},
    {"structured_outputs": {"choice": ["yes", "no", "vielleicht ü"]}},
    {"structured_outputs": {"regex": "[ab]{1,3}"}},
    {"structured_outputs": {"json": OBJECT}},
    {"structured_outputs": {"choice": []}},
    {"structured_outputs": {"regex": "("}},
    {"structured_outputs": {"json": OBJECT, "regex": "a"}},
]
MESSAGES: list[Any] = [
    [],
    [{}],
    [{"role": "user"}],
    [{"role": "user", "content": None}],
    [{"role": "robot", "content": "hi"}],
    "hi",
    {},
    [{"role": "user", "content": [{"type": "text", "text": "in ü"}, {"type": "text", "text": "parts"}]}],
    [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/a.png"}}]}],
    [{"role": "user", "content": "hi", "name": "ann"}, {"role": "assistant", "content": "hel"}],
    [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "t", "type": "function", "function": {"name": "look_up", "arguments": '{"a": 1}'}}],
        },
        {"role": "tool", "tool_call_id": "t", "content": "4"},
    ],
    [{"role": "developer", "content": "short"}, {"role": "user", "content": "hi"}],
    [None],
    ["hi"],
]


MOST = {
    "n": 128,
    "best_of": 128,
    "max_tokens": 10_000_000,
    "max_completion_tokens": 10_000_000,
    "min_tokens": 10_000_000,
    "logprobs": 1000,
    "top_logprobs": 1000,
    "prompt_logprobs": 1000,
}
GUIDED = 'is silently ignored by vLLM; send structured_outputs instead, such as {"structured_outputs": {"json": {...}}}'


@dataclass(frozen=True)
class Case:
    """One request, sent to the gateway and to the engine alike."""

    kind: str
    path: str
    body: bytes


@dataclass(frozen=True)
class Kept:
    """One request that the gateway answers itself, and what it must say."""

    reason: str
    path: str
    body: bytes | None
    status: int
    error: dict[str, Any] | None
    """Its `error` object, whose message may be None for any; None where it answers without one."""


def cases(count: int, seed: int, model: str) -> Iterator[Case]:
    """Give seeded requests whose answers are determined: greedy, or with a seed of their own."""
    draw = random.Random(seed)
    makers = [(_chat, 45), (_completion, 30), (_response, 15), (_embedding, 2), (_chat_odd, 8)]
    for _ in range(count):
        (make,) = draw.choices([make for make, _ in makers], [weight for _, weight in makers])
        kind, path, fields = make(draw)
        yield Case(kind, path, _spelled(draw, {"model": model, **fields}))


def _common(draw: random.Random, *, may_sample: bool = True) -> dict[str, Any]:
    fields: dict[str, Any] = {"temperature": draw.choice([0, 0.0])}
    if may_sample:
        fields = {"temperature": draw.choice([0, 0, 0.7, 1, 1.5]), "seed": draw.randrange(2**31)}
        names = draw.sample(sorted(SAMPLING), draw.choice([0, 0, 1, 1, 2, 3]))
        fields |= {name: draw.choice(SAMPLING[name]) for name in names}
    return fields


def _streamed(draw: random.Random, *, has_options: bool = True) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if draw.random() < 0.55:
        fields["stream"] = draw.choice([True, True, True, True, "true", 1])
    elif draw.random() < 0.2:
        fields["stream"] = draw.choice([False, None, "off", "maybe", 2])
    if has_options and draw.random() < (0.5 if fields.get("stream") else 0.05):
        fields["stream_options"] = draw.choice([*USAGE[:2] * 5, *USAGE])
    return fields


def _chat(draw: random.Random) -> tuple[str, str, dict[str, Any]]:
    roles = draw.choice([["user"], ["user"], ["system", "user"], ["user", "assistant", "user"]])
    messages = [{"role": role, "content": draw.choice(TEXTS)} for role in roles]
    length = draw.choice(["max_tokens", "max_tokens", "max_completion_tokens"])
    fields = {"messages": messages, length: draw.choice([1, 2, 3, 4]), **_common(draw), **_streamed(draw)}
    if draw.random() < 0.2:
        fields |= draw.choice(
            [{"logprobs": True}, {"logprobs": True, "top_logprobs": draw.randrange(4)}, {"top_logprobs": 2}]
        )
    shape = draw.random()
    if shape < 0.15:
        fields |= draw.choice(SHAPED)
    elif shape < 0.25:
        choice = draw.choice(["none", "auto", "required", NAMED, {"type": "function", "function": {"name": "other"}}])
        fields |= {"tools": [TOOL], "tool_choice": choice}
    return "chat", CHAT, fields


def _chat_odd(draw: random.Random) -> tuple[str, str, dict[str, Any]]:
    """Make a chat whose fields are of odd types; the engine refuses most."""
    _, path, fields = _chat(draw)
    if draw.random() < 0.3:
        return "chat odd", path, {**fields, "messages": draw.choice(MESSAGES)}
    name = draw.choice([*fields, *SAMPLING, "logprobs", "top_logprobs", "tools", "response_format", "stream_options"])
    odd = draw.choice([value for value in ODD if value not in HUGE or name not in MOST])
    if name in ("temperature", "seed", "max_tokens", "max_completion_tokens") and odd in (None, True, 1):
        odd = "x"  # else the answer would be drawn without a seed, or long
    return "chat odd", path, {**fields, name: odd}


def _completion(draw: random.Random) -> tuple[str, str, dict[str, Any]]:
    text = draw.choice(TEXTS)
    prompt = draw.choice([text, text, text, [text, "b"], [1, 2, 3], [[1, 2], [3]], [], [-1], [10**9], 5, None])
    fields = {"prompt": prompt, "max_tokens": draw.choice([1, 2, 3, 4]), **_common(draw), **_streamed(draw)}
    extra: list[dict[str, Any]] = [
        {"logprobs": draw.choice([0, 1, 5, 30])},
        {"echo": True},
        {"suffix": "x"},
        {"echo": True, "logprobs": 1},
        {"best_of": 2},
        *SHAPED[:6],
    ]
    return "completion", COMPLETIONS, {**fields, **(draw.choice(extra) if draw.random() < 0.4 else {})}


def _response(draw: random.Random) -> tuple[str, str, dict[str, Any]]:
    text = draw.choice(TEXTS)
    turns = [{"role": "user", "content": text}, {"role": "user", "content": [{"type": "input_text", "text": text}]}]
    fields = {"input": draw.choice([text, text, turns[:1], turns[1:], [], 5, None]), "max_output_tokens": 3}
    fields |= _common(draw, may_sample=False) | _streamed(draw, has_options=False)
    extra: list[dict[str, Any]] = [
        {"instructions": "short"},
        {"store": False},
        {"metadata": {"a": "b"}},
        {"top_p": 0.5},
        {"truncation": "auto"},
        {"include": ["message.output_text.logprobs"], "top_logprobs": 1},
        {"previous_response_id": "resp_none"},
        {"text": {"format": {"type": "json_schema", "name": "r", "schema": OBJECT}}},
    ]
    return "response", RESPONSES, {**fields, **(draw.choice(extra) if draw.random() < 0.4 else {})}


def _embedding(draw: random.Random) -> tuple[str, str, dict[str, Any]]:
    return "embedding", "/v1/embeddings", {"input": draw.choice([*TEXTS, ["a", "b"], [1, 2]])}


def _spelled(draw: random.Random, fields: dict[str, Any]) -> bytes:
    """Write JSON in one of the ways in which clients write it."""
    names = [*fields]
    draw.shuffle(names)
    styles: list[dict[str, Any]] = [{}, {"ensure_ascii": False}, {"separators": (",", ":")}, {"indent": 1}]
    text = json.dumps({name: fields[name] for name in names}, **draw.choice(styles))
    trick = draw.random()
    if trick < 0.05:
        text = f" \n{text}\r\n\t"
    elif trick < 0.1:
        text = text.replace('"temperature"', '"temp\\u0065rature"').replace('"model"', '"mod\\u0065l"')
    elif trick < 0.15:
        text = text[:-1].rstrip() + ', "model": ' + json.dumps(fields["model"]) + "}"
    elif trick < 0.2:
        text = text[:-1].rstrip() + ', "metadata": {"model": "inner", "x": 1.10, "y": 1E+2, "z": -0.0}}'
    return text.encode()


def kept(model: str) -> list[Kept]:
    """List what the gateway does not pass on: the request, why, and the answer that must come."""
    asked: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
    said = [
        _refused(
            "vLLM ignores it in silence, so its new name is told",
            {**asked, name: "x"},
            name,
            "unsupported_parameter",
            f"{name} {GUIDED}",
        )
        for name in ("guided_json", "guided_regex", "guided_choice", "guided_grammar", "guided_decoding_backend")
    ]
    said += [
        _refused(
            "far over what anybody needs", {**asked, name: most + 1}, name, "invalid_value", f"{name} is over {most}"
        )
        for name, most in MOST.items()
    ]
    why, says = "rows and limits go by model, so it must be there", "model must be a string: an alias or a version id"
    no_names: list[Any] = [None, 5, []]
    said += [_refused(why, {**asked, "model": value}, "model", "invalid_model", says) for value in no_names]
    large = {**asked, "messages": [{"role": "user", "content": "a" * 1_048_576}]}
    said += [
        Kept("only the names that a client may ask for", "/v1/models", None, 200, None),
        _refused(
            "its models are aliases and versions", {**asked, "model": "nobody"}, "model", "model_not_found", None, 404
        ),
        _refused("only listed routes reach the engine", asked, None, "unknown_route", None, 404, "/tokenize"),
        _refused("serve.max_body_bytes", large, None, "body_too_large", None, 413),
    ]
    background = {"model": model, "input": "hi", "background": True}
    told = {
        "message": "background answers could not be logged; ask without `background`",
        "type": "invalid_request_error",
        "code": "unsupported_parameter",
        "param": "background",
    }
    said.append(Kept("a background answer would come past the log", RESPONSES, _json(background), 400, told))
    deep = b'{"model": "' + model.encode() + b'", "messages": ' + b"[" * 65 + b"]" * 65 + b"}"
    unread = {
        "nests deeper than 64, and is not parsed": (deep, "it is nested deeper than 64"),
        "UTF-16 is not what the standard says JSON is": (json.dumps(asked).encode("utf-16"), None),
        "no JSON": (b"{", None),
        "no object": (b"[]", None),
        "no text": (b"\xff", None),
    }
    for reason, (body, message) in unread.items():
        text = None if message is None else f"the body is not a JSON object: {message}"
        error = {"message": text, "type": "invalid_request_error", "code": "invalid_json", "param": None}
        said.append(Kept(reason, CHAT, body, 400, error))
    return said


def _refused(
    reason: str,
    body: dict[str, Any],
    param: str | None,
    code: str,
    message: str | None,
    status: int = 400,
    path: str = CHAT,
) -> Kept:
    kind = "not_found_error" if status == 404 else "invalid_request_error"
    return Kept(reason, path, _json(body), status, {"message": message, "type": kind, "code": code, "param": param})


def _json(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode()
