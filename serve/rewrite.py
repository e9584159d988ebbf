"""A client's body becomes the engine's: the served model's name and the usage option change, nothing else.

The body is not parsed and written again, because that would alter numbers and escapes; the places of the
top-level fields are found, and only their bytes are replaced.
"""

import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from serve.refusals import RequestRefused

_SPACE = re.compile(r"[ \t\n\r]*")
_SCAN = json.JSONDecoder()
_READ = msgspec.json.Decoder()
_MODEL = re.compile(rb'"model"[ \t\n\r]*:[ \t\n\r]*("[^"\\]*")')
_OPENING = re.compile(rb"[ \t\n\r]*\{")
_WITH_USAGE = b'"stream_options":{"include_usage": true},'


@dataclass(frozen=True)
class Call:
    """A completion request, read."""

    body: bytes
    fields: dict[str, Any]
    model: str

    @cached_property
    def text(self) -> str:
        """The body as it came."""
        return self.body.decode()

    @property
    def wants_usage(self) -> bool:
        """Say whether the client asked for the usage chunk of a stream."""
        options = self.fields.get("stream_options")
        return isinstance(options, dict) and options.get("include_usage") is True

    def body_for(self, served_model: str) -> bytes:
        """Return the body with the engine's name for the model, and with the usage chunk asked for."""
        needs_usage = self.fields.get("stream") is True and not self.wants_usage
        place = None if needs_usage and "stream_options" in self.fields else _place_of_model(self.body)
        if place is None:
            return self._scanned(served_model, needs_usage=needs_usage)
        begin, end = place
        body = b"%b%b%b" % (self.body[:begin], json.dumps(served_model).encode(), self.body[end:])
        if not needs_usage:
            return body
        opening = _OPENING.match(body)
        assert opening is not None  # it was read as an object
        return b"%b%b%b" % (opening.group(), _WITH_USAGE, body[opening.end() :])

    def _scanned(self, served_model: str, *, needs_usage: bool) -> bytes:
        edits = {"model": json.dumps(served_model)}
        start = self.text.index("{") + 1
        prefix = ""
        if needs_usage:
            options = self.fields.get("stream_options")
            value = json.dumps({**(options if isinstance(options, dict) else {}), "include_usage": True})
            if "stream_options" in self.fields:
                edits["stream_options"] = value
            else:
                prefix = f'"stream_options":{value},'
        parts, at = [self.text[:start], prefix], start
        for name, _, begin, end in _members(self.text):
            if name in edits:
                parts += [self.text[at:begin], edits[name]]
                at = end
        return "".join([*parts, self.text[at:]]).encode()


def read_call(body: bytes) -> Call:
    """Read a completion request's body.

    Raises RequestRefused (400) if it is not a JSON object with a model, or uses options that vLLM dropped.
    """
    fields = _read_fields(body)
    for name in fields:
        if name.startswith("guided_"):
            message = f"{name} is silently ignored by vLLM; send structured_outputs instead, such as "
            example = '{"structured_outputs": {"json": {...}}}'
            raise RequestRefused(400, message + example, "unsupported_parameter", param=name)
    model = fields.get("model")
    if not isinstance(model, str):
        raise RequestRefused(400, "model must be a string: an alias or a version id", "invalid_model", param="model")
    return Call(body, fields, model)


def _read_fields(body: bytes) -> dict[str, Any]:
    try:
        fields = _READ.decode(body)
    except (msgspec.DecodeError, RecursionError):
        fields = None
    if isinstance(fields, dict):
        return fields
    try:  # what is JSON to Python but not to the standard, such as NaN; and a better message
        return {name: value for name, value, _, _ in _members(body.decode())}
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
        name, at = _SCAN.raw_decode(text, at)
        at = _skip(text, at)
        _expect(text, at, ":")
        begin = _skip(text, at + 1)
        value, end = _SCAN.raw_decode(text, begin)
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
