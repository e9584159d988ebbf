"""A client's body becomes the engine's: the served model's name and the usage option change, nothing else.

The body is not parsed and written again, because that would alter numbers and escapes; the places of the
top-level fields are found, and only their bytes are replaced.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from serve.refusals import RequestRefused

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Call:
    """A completion request, read."""

    text: str
    fields: dict[str, Any]
    model: str
    _places: tuple[tuple[str, int, int], ...]

    @property
    def wants_usage(self) -> bool:
        """Say whether the client asked for the usage chunk of a stream."""
        options = self.fields.get("stream_options")
        return isinstance(options, dict) and options.get("include_usage") is True

    def body_for(self, served_model: str) -> bytes:
        """Return the body with the engine's name for the model, and with the usage chunk asked for."""
        edits = {"model": json.dumps(served_model)}
        start = self.text.index("{") + 1
        prefix = ""
        if self.fields.get("stream") is True and not self.wants_usage:
            options = self.fields.get("stream_options")
            value = json.dumps({**(options if isinstance(options, dict) else {}), "include_usage": True})
            if "stream_options" in self.fields:
                edits["stream_options"] = value
            else:
                prefix = f'"stream_options":{value},'
        parts, at = [self.text[:start], prefix], start
        for name, begin, end in self._places:
            if name in edits:
                parts += [self.text[at:begin], edits[name]]
                at = end
        return "".join([*parts, self.text[at:]]).encode()


def read_call(body: bytes) -> Call:
    """Read a completion request's body.

    Raises RequestRefused (400) if it is not a JSON object with a model, or uses options that vLLM dropped.
    """
    try:
        text = body.decode()
        members = _members(text)
    except (ValueError, RecursionError) as error:
        raise RequestRefused(400, f"the body is not a JSON object: {error}", "invalid_json") from error
    fields = {name: value for name, value, _, _ in members}
    guided = [name for name in fields if name.startswith("guided_")]
    if guided:
        message = f"{guided[0]} is silently ignored by vLLM; send structured_outputs instead, such as "
        example = '{"structured_outputs": {"json": {...}}}'
        raise RequestRefused(400, message + example, "unsupported_parameter", param=guided[0])
    model = fields.get("model")
    if not isinstance(model, str):
        raise RequestRefused(400, "model must be a string: an alias or a version id", "invalid_model", param="model")
    return Call(text, fields, model, tuple((name, begin, end) for name, _, begin, end in members))


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
