"""A client's body becomes the engine's: the served model's name and the usage option change, nothing else.

The body is not parsed and written again, because that would alter numbers and escapes; the places of the
top-level fields are found, and only their bytes are replaced.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from serve.capture import conversation_of, prompt_of, user_of
from serve.refusals import RequestRefused

WITH_USAGE_OPTION = ("/v1/chat/completions", "/v1/completions")
MAX_DEPTH, MAX_BRACKETS = 64, 20_000
MOST = {
    "n": 128,
    "best_of": 128,
    "max_tokens": 10_000_000,
    "max_completion_tokens": 10_000_000,
    "max_output_tokens": 10_000_000,
    "min_tokens": 10_000_000,
    "logprobs": 1000,
    "top_logprobs": 1000,
    "prompt_logprobs": 1000,
}
"""Far over what anybody needs, far under what hurts; the engine has its own, tighter limits. n is OpenAI's."""
_TEXT = re.compile(rb'"[^"]*"')
_NO_BRACKETS = bytes(set(range(256)) - set(b'[]{}"'))
_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Call:
    """A request for an engine, read; what was parsed is not kept, because it can take 25 times the text's memory."""

    text: str
    model: str
    prompt: str
    """What the user wrote last."""
    user_id: str
    conversation_id: str
    is_stream: bool
    wants_usage: bool
    """The client asked for the usage chunk of a stream."""
    usage_option: str | None
    """The JSON of `stream_options` that asks for it, where the gateway must ask itself."""
    _places: tuple[tuple[str, int, int], ...]

    def body_for(self, served_model: str) -> bytes:
        """Return the body with the engine's name for the model, and with the usage chunk asked for."""
        edits = {"model": json.dumps(served_model)}
        start = self.text.index("{") + 1
        prefix = ""
        if self.usage_option is not None:
            if any(name == "stream_options" for name, _, _ in self._places):
                edits["stream_options"] = self.usage_option
            else:
                prefix = f'"stream_options":{self.usage_option},'
        parts, at = [self.text[:start], prefix], start
        for name, begin, end in self._places:
            if name in edits:
                parts += [self.text[at:begin], edits[name]]
                at = end
        return "".join([*parts, self.text[at:]]).encode()


def read_call(body: bytes, path: str) -> Call:
    """Read the body of a request for an engine.

    Raises RequestRefused (400) if it is not a JSON object with a model, is out of bounds, or uses options that the
    engine ignores or that cannot be logged.
    """
    try:
        text = body.decode()
        _check_depth(body)
        members = _members(text)
    except (ValueError, RecursionError) as error:
        raise RequestRefused(400, f"the body is not a JSON object: {error}", "invalid_json") from error
    fields = {name: value for name, value, _, _ in members}
    _check_fields(fields, path)
    options = fields.get("stream_options")
    options = options if isinstance(options, dict) else {}
    wants_usage, is_stream = options.get("include_usage") is True, fields.get("stream") is True
    must_ask = is_stream and not wants_usage and path in WITH_USAGE_OPTION
    return Call(
        text=text,
        model=fields["model"],
        prompt=prompt_of(fields),
        user_id=user_of(fields),
        conversation_id=conversation_of(fields),
        is_stream=is_stream,
        wants_usage=wants_usage,
        usage_option=json.dumps({**options, "include_usage": True}) if must_ask else None,
        _places=tuple((name, begin, end) for name, _, begin, end in members if name in ("model", "stream_options")),
    )


def _check_fields(fields: dict[str, Any], path: str) -> None:
    for name, most in MOST.items():
        value = fields.get(name)
        if isinstance(value, int | float) and value > most:
            raise RequestRefused(400, f"{name} is over {most}", "invalid_value", param=name)
    guided = [name for name in fields if name.startswith("guided_")]
    if guided:
        message = f"{guided[0]} is silently ignored by vLLM; send structured_outputs instead, such as "
        example = '{"structured_outputs": {"json": {...}}}'
        raise RequestRefused(400, message + example, "unsupported_parameter", param=guided[0])
    if path == "/v1/responses" and fields.get("background"):
        message = "background answers could not be logged; ask without `background`"
        raise RequestRefused(400, message, "unsupported_parameter", param="background")
    if not isinstance(fields.get("model"), str):
        raise RequestRefused(400, "model must be a string: an alias or a version id", "invalid_model", param="model")


def _check_depth(body: bytes) -> None:
    """Raise ValueError if JSON is nested too deeply, or would take much more memory parsed than as text.

    Texts are taken out, then the innermost pairs of brackets again and again: each round is one level. Where no pair
    is left the brackets do not match, which the parser will say.
    """
    count = body.count(b"[") + body.count(b"{")
    if count <= MAX_DEPTH:
        return
    if count > MAX_BRACKETS:
        raise ValueError(f"it holds over {MAX_BRACKETS} lists and objects")
    brackets = body.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _NO_BRACKETS)
    brackets = _TEXT.sub(b"", brackets)
    for _ in range(MAX_DEPTH):
        left = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if len(left) == len(brackets):
            return
        brackets = left
    if brackets:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH}")


def _members(text: str) -> list[tuple[str, Any, int, int]]:
    """Return name, value, begin and end of the value for each field of a JSON object; raises ValueError."""
    at = _skip(text, 0)
    _expect(text, at, "{")
    at = _skip(text, at + 1)
    found: list[tuple[str, Any, int, int]] = []
    while text[at : at + 1] != "}":
        if found:
            _expect(text, at, ",")
            at = _skip(text, at + 1)
        _expect(text, at, '"')
        name, at = _DECODER.raw_decode(text, at)
        at = _skip(text, at)
        _expect(text, at, ":")
        begin = _skip(text, at + 1)
        value, end = _DECODER.raw_decode(text, begin)
        found.append((name, value, begin, end))
        at = _skip(text, end)
    if _skip(text, at + 1) != len(text):
        raise ValueError(f"something follows the object at character {at + 1}")
    return found


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _expect(text: str, at: int, sign: str) -> None:
    if text[at : at + 1] != sign:
        raise ValueError(f"expected {sign!r} at character {at}")
