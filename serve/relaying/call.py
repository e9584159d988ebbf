"""The body of a call: checks it, reads it for routing and the log, and rewrites it for the engine.

Only the served model's name, the usage option and the id of a response change. The body is not parsed and written
again, because that would alter numbers and escapes; the places of the top-level fields are found, and only their bytes
are replaced.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import msgspec

from driftwheel.store.row_values import storable
from serve.refusals import RequestRefused
from serve.relaying.json_fields import check_depth, members

TRACE_HEADERS = ("traceparent", "tracestate")
WITH_USAGE_OPTION = ("/v1/chat/completions", "/v1/completions")
RESPONSES = "/v1/responses"
RESPONSE_ID_PREFIX = "resp_"
"""The engine names other answers by the header x-request-id, with `chatcmpl-`, `cmpl-` or `embd-` before it."""
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
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""Windows' tools write it before UTF-8. JSON may not begin with it, but a parser may overlook it (RFC 8259, section
8.1), and vLLM's does."""
_READ = msgspec.json.Decoder()
_MODEL = re.compile(rb'"model"[ \t\n\r]*:[ \t\n\r]*("[^"\\]*")')
_TRUTHS = dict.fromkeys(("1", "on", "t", "true", "y", "yes"), True) | dict.fromkeys(
    ("0", "off", "f", "false", "n", "no"), False
)
_OPENING = re.compile(rb"[ \t\n\r]*\{")


def trace_headers(headers: Mapping[bytes, bytes]) -> str:
    """Return the lines that pass a client's trace on to the engine, as they came."""
    lines = [(name, headers[name.encode()].decode("latin-1")) for name in TRACE_HEADERS if name.encode() in headers]
    return "".join(f"{name}: {value}\r\n" for name, value in lines if value.isascii() and value.isprintable())


@dataclass(frozen=True)
class Call:
    """A request for an engine, read; what was parsed is not kept, because it can take 25 times the text's memory."""

    body: bytes
    model: str
    prompt: str
    """What the user wrote last."""
    user_id: str
    conversation_id: str
    is_stream: bool
    usage_option: str | None
    """The JSON of `stream_options` that asks for a stream's usage event, where the client does not."""
    has_stream_options: bool
    takes_id: bool
    """The engine takes the answer's id from the body, and the client names none."""
    prefix: str
    """The beginning of the prompt, which says which replica may have it cached."""

    @cached_property
    def text(self) -> str:
        """The body as it came."""
        return self.body.decode()

    @property
    def is_added_to(self) -> bool:
        """Whether the engine gets more than the client wrote."""
        return self.usage_option is not None or self.takes_id

    def as_it_came(self) -> "Call":
        """Return the call without what the gateway would add."""
        return replace(self, usage_option=None, takes_id=False)

    def body_for(self, served_model: str, request_id: str) -> bytes:
        """Return the body with the engine's name for the model, the usage chunk asked for, and the answer's id."""
        replaces_option = self.usage_option is not None and self.has_stream_options
        place = None if replaces_option else _place_of_model(self.body)
        if place is None:
            return self._scanned(served_model, request_id)
        begin, end = place
        body = b"%b%b%b" % (self.body[:begin], json.dumps(served_model).encode(), self.body[end:])
        if not self.is_added_to:
            return body
        opening = _OPENING.match(body)
        assert opening is not None  # it was read as an object
        return b"%b%b%b" % (opening.group(), self._added(request_id).encode(), body[opening.end() :])

    def _added(self, request_id: str) -> str:
        """Return the fields that are written before the client's first one; a route takes one of them at most."""
        if self.takes_id:
            return f'"request_id":"{RESPONSE_ID_PREFIX}{request_id}",'
        return f'"stream_options":{self.usage_option},' if self.usage_option and not self.has_stream_options else ""

    def _scanned(self, served_model: str, request_id: str) -> bytes:
        edits = {"model": json.dumps(served_model)}
        if self.usage_option is not None and self.has_stream_options:
            edits["stream_options"] = self.usage_option
        start = self.text.index("{") + 1
        parts, at = [self.text[:start], self._added(request_id)], start
        for name, _, begin, end in members(self.text):
            if name in edits:
                parts += [self.text[at:begin], edits[name]]
                at = end
        return "".join([*parts, self.text[at:]]).encode()


def read_call(body: bytes, path: str) -> Call:
    """Read the body of a request for an engine.

    Raises RequestRefused (400) if it is not a JSON object with a model, is out of bounds, or uses options that the
    engine ignores or that cannot be logged.
    """
    body = body.removeprefix(BYTE_ORDER_MARK)
    fields = _read_fields(body)
    _check_fields(fields, path)
    is_stream = truth(fields.get("stream")) is True
    may_ask = is_stream and path in WITH_USAGE_OPTION
    return Call(
        body=body,
        model=fields["model"],
        prompt=prompt_of(fields),
        user_id=user_of(fields),
        conversation_id=conversation_of(fields),
        is_stream=is_stream,
        usage_option=_usage_option(fields.get("stream_options")) if may_ask else None,
        has_stream_options="stream_options" in fields,
        takes_id=path == RESPONSES and "request_id" not in fields,
        prefix=prefix_of(fields),
    )


def truth(value: Any) -> bool | None:
    """Read a truth value as pydantic does, by which vLLM reads requests; None if it is none."""
    if isinstance(value, str):
        return _TRUTHS.get(value.lower())
    return bool(value) if isinstance(value, bool | int | float) and value in (0, 1) else None


def _usage_option(options: Any) -> str | None:
    """Return `stream_options` with the usage asked for; None if it is already, or if the engine will refuse them."""
    if options is None:
        options = {}
    if not isinstance(options, dict):
        return None
    asked = {name: options[name] for name in ("include_usage", "continuous_usage_stats") if name in options}
    if any(value is not None and truth(value) is None for value in asked.values()) or truth(asked.get("include_usage")):
        return None
    # Usage in every event is given only to who asks for usage, so it must not begin with our asking.
    without = {"continuous_usage_stats": False} if "continuous_usage_stats" in asked else {}
    return json.dumps({**options, **without, "include_usage": True})


def _read_fields(body: bytes) -> dict[str, Any]:
    try:
        check_depth(body)
        try:
            fields = _READ.decode(body)
        except msgspec.DecodeError:
            fields = None
        if isinstance(fields, dict):
            return fields
        # What is JSON to Python but not to the standard, such as NaN; and a better message for what is neither.
        return {name: value for name, value, _, _ in members(body.decode())}
    except (ValueError, RecursionError) as error:
        raise RequestRefused(400, f"the body is not a JSON object: {error}", "invalid_json") from error


def _place_of_model(body: bytes) -> tuple[int, int] | None:
    """Return where the model's value begins and ends; None where only a scan of the whole body can tell.

    The body has the top-level field `model`. If its name is written once in all of the body and could not be written
    with escapes, then there it is.
    """
    if body.count(b'"model"') != 1 or b"\\u006" in body:
        return None
    match = _MODEL.search(body)
    return match.span(1) if match else None


def _check_fields(fields: dict[str, Any], path: str) -> None:
    for name in MOST.keys() & fields.keys():
        if _number(fields[name]) > MOST[name]:
            raise RequestRefused(400, f"{name} is over {MOST[name]}", "invalid_value", param=name)
    for name in fields:
        if name.startswith("guided_"):
            message = f"{name} is silently ignored by vLLM; send structured_outputs instead, such as "
            example = '{"structured_outputs": {"json": {...}}}'
            raise RequestRefused(400, message + example, "unsupported_parameter", param=name)
    if path == RESPONSES and fields.get("background"):
        message = "background answers could not be logged; ask without `background`"
        raise RequestRefused(400, message, "unsupported_parameter", param="background")
    if not isinstance(fields.get("model"), str):
        raise RequestRefused(400, "model must be a string: an alias or a version id", "invalid_model", param="model")


def _number(value: Any) -> float:
    """Read a number as pydantic does, also from a text; 0 if it is none."""
    try:
        return float(value) if isinstance(value, int | float | str) else 0.0
    except OverflowError:
        return math.inf
    except ValueError:
        return 0.0


def prompt_of(fields: dict[str, Any]) -> str:
    """Return what the user wrote last: the last user message's text, or the prompt, or the input."""
    messages = fields.get("messages", fields.get("input"))
    if isinstance(messages, list) and any(isinstance(message, dict) for message in messages):
        for message in reversed(messages):
            if isinstance(message, dict) and message.get("role") == "user":
                return storable(text_of(message.get("content")))
        return ""
    return storable(text_of(fields.get("prompt", messages)))


def text_of(content: Any) -> str:
    """Return the text of a message's content: as it is, or of its parts; empty for what holds none."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = [part.get("text") if isinstance(part, dict) else part for part in content]
    return "\n".join(text for text in texts if isinstance(text, str))


def user_of(fields: Mapping[str, Any]) -> str:
    """Return the request's `user`, or the `safety_identifier` that OpenAI has made of it since."""
    named = (fields.get(name) for name in ("user", "safety_identifier"))
    return next((storable(user) for user in named if isinstance(user, str) and user), "")


def conversation_of(fields: Mapping[str, Any]) -> str:
    """Return the request's `metadata.conversation`."""
    metadata = fields.get("metadata")
    conversation = metadata.get("conversation") if isinstance(metadata, dict) else None
    return storable(conversation) if isinstance(conversation, str) else ""


PREFIX_CHARACTERS = 256
"""So much of a conversation's beginning decides which replica has it cached; vLLM caches whole blocks of tokens."""


def prefix_of(fields: dict[str, Any]) -> str:
    """Return the beginning of a request's prompt, as far as engines are likely to have it cached."""
    messages = fields.get("messages")
    if not isinstance(messages, list):
        return str(fields.get("prompt", ""))[:PREFIX_CHARACTERS]
    text = ""
    for message in messages:
        text += f"{message.get('role')}:{message.get('content')}\n" if isinstance(message, dict) else ""
        if len(text) >= PREFIX_CHARACTERS:
            break
    return text[:PREFIX_CHARACTERS]
