"""Capture: reads a copy of an answer while it passes, to fill its Traffic row.

The bytes for the client are never changed: a stream is only cut into its events, so that the usage event can be
left out for clients that did not ask for it, and the last event held until the row is durable.
"""

import json
import re
from typing import Any

import msgspec

from driftwheel.store.row_values import storable
from serve.relaying.usage_filter import UsageFilter

_READ = msgspec.json.Decoder()
_EVENT_END = re.compile(rb"\r?\n\r?\n|\r\r")
_DONE = b"[DONE]"
MAX_ERROR_CHARACTERS = 1000
MAX_TOKENS = 2**31
CHARACTERS_PER_TOKEN = 4  # of English, as OpenAI's guide has it
MAX_TEXTS = 512
"""Pieces of an answer before they are joined: a string for each token takes ten times its letters."""
MAX_LOGPROB = 1e300  # the sum of many must stay a float that JSON can carry
RESPONSE_ENDS = ("response.completed", "response.incomplete", "response.failed")
FINISH_REASONS = {"completed": "stop", "max_output_tokens": "length"}
"""What /v1/responses says, in the words of chat completions."""


class AnswerCapture:
    """What an answer says, gathered while it passes."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._tools: dict[int, dict[str, str]] = {}
        self._logprobs: list[float] = []
        self.finish_reason: str | None = None
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.system_fingerprint = ""
        self.error: str | None = None
        self.is_done = False

    @property
    def answer(self) -> str:
        """The first choice's text; its tool calls as JSON if it has no text."""
        text = "".join(self._texts)
        if not text and self._tools:
            return self._calls()
        return storable(text)

    @property
    def logged(self) -> str:
        """The first choice's text, and its tool calls as a line of JSON after it."""
        text = storable("".join(self._texts))
        return "\n".join([text, self._calls()] if text and self._tools else [self.answer])

    def _calls(self) -> str:
        return storable(json.dumps([self._tools[index] for index in sorted(self._tools)], ensure_ascii=False))

    @property
    def mean_logprob(self) -> float | None:
        """The mean log-probability of the answer's tokens, where the client asked for them."""
        return sum(self._logprobs) / len(self._logprobs) if self._logprobs else None

    def used_tokens(self, request: str) -> int:
        """Return the tokens to charge for; guessed from the texts where an answer broke off before its usage."""
        counted = self.prompt_tokens + self.completion_tokens
        return counted or (len(request) + len(self.answer)) // CHARACTERS_PER_TOKEN

    def read_json(self, body: bytes) -> None:
        """Read a whole answer, of any status."""
        value = _parse(body)
        if isinstance(value, dict):
            self._read(value)
        elif body:
            self.error = storable(body.decode("utf-8", "replace"))[:MAX_ERROR_CHARACTERS]
        self.is_done = True

    def read_event(self, event: bytes) -> bool:
        """Read one server-sent event; return whether it carries only the usage."""
        if event.startswith(b"data:") and event.find(b"\n") == len(event) - 2:  # as vLLM writes them
            data = event[5:].strip()
        else:
            data = b"\n".join(line[5:].strip() for line in event.splitlines() if line.startswith(b"data:"))
        if data == _DONE:
            self.is_done = True
            return False
        value = _parse(data)
        if not isinstance(value, dict):
            return False
        self._read(value)
        return value.get("choices") == [] and isinstance(value.get("usage"), dict)

    def _read(self, value: dict[str, Any]) -> None:
        kind = value.get("type")
        if isinstance(kind, str) and (kind.startswith("response.") or kind == "error"):
            self._read_response_event(kind, value)
            return
        if value.get("object") == "response":
            self._read_response(value)
        usage = value.get("usage")
        if isinstance(usage, dict):
            self.prompt_tokens = _count(usage.get("prompt_tokens", usage.get("input_tokens")))
            self.completion_tokens = _count(usage.get("completion_tokens", usage.get("output_tokens")))
            self.system_fingerprint = str(value.get("system_fingerprint") or "")
        error = value.get("error")
        if error is not None:
            message = error.get("message") if isinstance(error, dict) else error
            self.error = storable(str(message))[:MAX_ERROR_CHARACTERS]
        choices = value.get("choices")
        for choice in choices if isinstance(choices, list) else []:
            if isinstance(choice, dict) and choice.get("index", 0) == 0:
                self._read_choice(choice)

    def _read_choice(self, choice: dict[str, Any]) -> None:
        part = choice.get("delta") or choice.get("message") or {"content": choice.get("text")}
        if isinstance(part, dict):
            if isinstance(part.get("content"), str):
                self._add_text(part["content"])
            for call in _list(part.get("tool_calls")):
                self._read_tool_call(call)
        if isinstance(choice.get("finish_reason"), str):
            self.finish_reason = choice["finish_reason"]
        logprobs = choice.get("logprobs")
        if isinstance(logprobs, dict):
            self._logprobs += _numbers(_list(logprobs.get("token_logprobs")) or _logprobs(logprobs.get("content")))

    def _read_response_event(self, kind: str, event: dict[str, Any]) -> None:
        """Read an event of /v1/responses; the last one repeats the whole answer."""
        if kind in RESPONSE_ENDS and isinstance(event.get("response"), dict):
            self._texts, self._tools, self._logprobs = [], {}, []
            self._read({"object": "response", **event["response"]})
            self.is_done = True
        elif kind == "response.output_text.delta" and isinstance(event.get("delta"), str):
            self._add_text(event["delta"])
        elif kind == "error":
            self.error = storable(str(event.get("message")))[:MAX_ERROR_CHARACTERS]
            self.is_done = True  # nothing follows it

    def _read_response(self, response: dict[str, Any]) -> None:
        for item in _list(response.get("output")):
            if not isinstance(item, dict):
                continue
            if item.get("type") == "function_call":
                self._read_tool_call({"function": item})
            for part in _list(item.get("content")) if item.get("type") == "message" else []:
                if isinstance(part, dict) and isinstance(part.get("text"), str):
                    self._add_text(part["text"])
                    self._logprobs += _numbers(_logprobs(part.get("logprobs")))
        details = response.get("incomplete_details")
        reason = str((details.get("reason") if isinstance(details, dict) else None) or response.get("status"))
        self.finish_reason = FINISH_REASONS.get(reason, reason)

    def _add_text(self, text: str) -> None:
        self._texts.append(text)
        if len(self._texts) > MAX_TEXTS:  # a token's own string takes ten times its letters
            self._texts = ["".join(self._texts)]

    def _read_tool_call(self, call: Any) -> None:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            index = call.get("index")
            place = index if isinstance(index, int) else len(self._tools)
            tool = self._tools.setdefault(place, {"name": "", "arguments": ""})
            for name in tool:
                tool[name] += function[name] if isinstance(function.get(name), str) else ""


class StreamCapture(AnswerCapture):
    """A stream of server-sent events, its copy read and its last event held back."""

    def __init__(self, usage_filter: UsageFilter | None = None) -> None:
        """Take what leaves out the usage event, if the client did not ask for it."""
        super().__init__()
        self._usage_filter = usage_filter
        self._rest = b""
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the engine; return those that the client may have now."""
        self._rest += data
        passed: list[bytes] = []
        while match := _EVENT_END.search(self._rest):
            event, self._rest = self._rest[: match.end()], self._rest[match.end() :]
            is_usage = self.read_event(event)
            if self._usage_filter is not None:
                event = self._without_usage(self._usage_filter, event, is_usage=is_usage)
            if self.is_done:
                self._held += event
            else:
                passed.append(event)
        return b"".join(passed)

    def _without_usage(self, usage_filter: UsageFilter, event: bytes, *, is_usage: bool) -> bytes:
        if self.is_done:
            return usage_filter.waiting() + event
        return usage_filter.after_usage(self.system_fingerprint) if is_usage else usage_filter.passed(event)

    def held(self) -> bytes:
        """Return what may follow once the row is durable: the last event, and anything that is no event."""
        return self._held + self._rest


def _parse(data: bytes) -> Any:
    try:
        return _READ.decode(data)
    except (msgspec.DecodeError, RecursionError):
        pass
    try:  # what is JSON to Python but not to the standard, such as NaN
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _logprobs(tokens: Any) -> list[Any]:
    return [token.get("logprob") for token in _list(tokens) if isinstance(token, dict)]


def _numbers(values: list[Any]) -> list[float]:
    return [float(value) for value in values if isinstance(value, int | float) and abs(value) <= MAX_LOGPROB]


def _count(value: Any) -> int:
    return value if type(value) is int and 0 <= value <= MAX_TOKENS else 0  # not `true`, which is an int too
