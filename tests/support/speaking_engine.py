"""An engine that speaks OpenAI's protocol as vLLM does, and the real gateway in front of it, in a thread of the test.

It answers chats, tools, schemas, completions, responses and embeddings, whole and streamed; it names its answers by the
x-request-id that it was sent, as vLLM does, and remembers what it was asked.
"""

import asyncio
import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import uvloop

from driftwheel.records.nouns import Traffic
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.log import TrafficLog
from serve.access.key_ring import ApiKeys
from serve.gateway import Gateway
from serve.metrics import GatewayMetrics
from serve.routing.table import EngineRoute, RoutingTable

KEY = "client-4hT9sQ2mWx7LpVz8"
VERSION = "version_1"
ANSWER = "card"
TOOL, ARGUMENTS = "find_card", {"holder": "Ada"}
SCHEMA_ANSWER = {"intent": "card", "sure": True}
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
RETRY_SECONDS = 1
_LATER = re.compile(r"later (\d{3}) [\w-]+")


@dataclass
class Asked:
    """One request that reached the engine."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class SpeakingEngine:
    """The engine. A message such as `later 429 NAME` gets that status with a Retry-After the first time."""

    asked: list[Asked] = field(default_factory=list)
    put_off: set[str] = field(default_factory=set)
    """What was answered with a refusal once, and is answered now."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection until it ends."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
                headers = dict(line.split(": ", 1) for line in lines)
                body = json.loads(await reader.readexactly(int(headers["content-length"])))
                self.asked.append(Asked(line.split()[1], headers, body))
                writer.write(self.answer(self.asked[-1]))
                await writer.drain()
        writer.close()

    def answer(self, asked: Asked) -> bytes:
        """Return the bytes of an answer."""
        text = json.dumps(asked.body)
        later = _LATER.search(text)
        if later is not None and later.group() not in self.put_off:
            self.put_off.add(later.group())
            return _framed(int(later.group(1)), _error("busy"), f"retry-after: {RETRY_SECONDS}\r\n")
        if "refuse me" in text:
            return _framed(400, _error("the prompt is too long"))
        make = {"/v1/completions": _completion, "/v1/responses": _response, "/v1/embeddings": _embedding}
        return make.get(asked.path, _chat)(asked)


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "BadRequestError", "param": None, "code": 400}}


def _framed(status: int, value: dict[str, Any], more: str = "") -> bytes:
    body = json.dumps(value).encode()
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{more}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _streamed(events: list[tuple[str, dict[str, Any]]], *, is_done_said: bool = True) -> bytes:
    named = [(f"event: {name}\n" if name else "", json.dumps(value)) for name, value in events]
    parts = [f"{name}data: {text}\n\n".encode() for name, text in named]
    parts += [b"data: [DONE]\n\n"] if is_done_said else []
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def _chat(asked: Asked) -> bytes:
    body = asked.body
    facts: dict[str, Any] = {"id": f"chatcmpl-{asked.headers['x-request-id']}", "created": 1, "model": body["model"]}
    message, reason = _message(body)
    if not body.get("stream"):
        choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason}
        return _framed(200, {**facts, "object": "chat.completion", "choices": [choice], "usage": USAGE})
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    text = message.get("content") or ""
    deltas += [{"content": text[at : at + 3]} for at in range(0, len(text), 3)]
    deltas += [{"tool_calls": [{"index": 0, **call}]} for call in message.get("tool_calls", [])]
    choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": reason})
    about = {**facts, "object": "chat.completion.chunk"}
    events = [("", {**about, "choices": [choice]}) for choice in choices]
    if (body.get("stream_options") or {}).get("include_usage"):
        events.append(("", {**about, "choices": [], "usage": USAGE}))
    return _streamed(events)


def _message(body: dict[str, Any]) -> tuple[dict[str, Any], str]:
    has_result = any(message.get("role") == "tool" for message in body["messages"])
    if body.get("tools") and not has_result:
        function = {"name": body["tools"][0]["function"]["name"], "arguments": json.dumps(ARGUMENTS)}
        return {
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
        }, "tool_calls"
    if (body.get("response_format") or {}).get("type") in ("json_schema", "json_object"):
        return {"content": json.dumps(SCHEMA_ANSWER)}, "stop"
    return {"content": ANSWER}, "stop"


def _completion(asked: Asked) -> bytes:
    facts = {"id": f"cmpl-{asked.headers['x-request-id']}", "object": "text_completion", "created": 1}
    choice = {"index": 0, "text": ANSWER, "finish_reason": "stop"}
    return _framed(200, {**facts, "model": asked.body["model"], "choices": [choice], "usage": USAGE})


def _response(asked: Asked) -> bytes:
    content = [{"type": "output_text", "text": ANSWER, "annotations": []}]
    message = {"id": "m", "type": "message", "role": "assistant", "status": "completed", "content": content}
    whole: dict[str, Any] = {
        "id": asked.body.get("request_id", "resp_of_its_own"),
        "object": "response",
        "created_at": 1,
        "model": asked.body["model"],
        "status": "completed",
        "output": [message],
        "usage": {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10},
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [],
    }
    if not asked.body.get("stream"):
        return _framed(200, whole)
    delta: dict[str, Any] = {"delta": ANSWER, "item_id": "m", "output_index": 0, "content_index": 0, "logprobs": []}
    kinds = [("response.output_text.delta", delta), ("response.completed", {"response": whole})]
    events = [(kind, {"type": kind, "sequence_number": at, **value}) for at, (kind, value) in enumerate(kinds)]
    return _streamed(events, is_done_said=False)


def _embedding(asked: Asked) -> bytes:
    data = [{"object": "embedding", "index": 0, "embedding": [0.5, -0.25]}]
    facts = {"id": f"embd-{asked.headers['x-request-id']}", "object": "list", "model": asked.body["model"]}
    return _framed(200, {**facts, "usage": {"prompt_tokens": 4, "total_tokens": 4}, "data": data})


@dataclass
class Running:
    """The gateway and what stands around it."""

    port: int
    gateway: Gateway
    engine: SpeakingEngine
    routes: RoutingTable
    ledger: Ledger
    loop: asyncio.AbstractEventLoop

    @property
    def url(self) -> str:
        """Where clients ask, as they want it."""
        return f"http://127.0.0.1:{self.port}/v1"

    def rows(self) -> list[Traffic]:
        """Return the logged requests, the newest first, as another process reads them."""
        other = Ledger(self.ledger.url)
        try:
            return other.find(Traffic)
        finally:
            other.close()

    def run(self, change: Callable[[], Any]) -> Any:
        """Do something on the gateway's own loop."""

        async def call() -> Any:
            return change()

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(60)


@contextlib.contextmanager
def running(settings: Settings, ledger: Ledger, keys: ApiKeys | None = None) -> Iterator[Running]:
    """Run the gateway in front of the engine for as long as the block lasts; `support` is the alias."""
    log, engine, routes = TrafficLog(ledger), SpeakingEngine(), RoutingTable()
    made: list[Running] = []
    is_up, stop = threading.Event(), asyncio.Event()

    async def main() -> None:
        upstream = await asyncio.start_server(engine.serve, "127.0.0.1", 0)
        routes.add(EngineRoute(VERSION, "127.0.0.1", upstream.sockets[0].getsockname()[1], VERSION))
        routes.point(settings.serve.alias, VERSION)
        gateway = Gateway(settings, log, ledger, routes, GatewayMetrics(), keys or ApiKeys([KEY]))
        server = await gateway.start("127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        made.append(Running(port, gateway, engine, routes, ledger, asyncio.get_running_loop()))
        is_up.set()
        await stop.wait()
        await gateway.stop(0.2)
        upstream.close()

    thread = threading.Thread(target=uvloop.run, args=(main(),))
    thread.start()
    try:
        assert is_up.wait(60)
        yield made[0]
    finally:
        if made:
            made[0].loop.call_soon_threadsafe(stop.set)
        thread.join(60)
        assert not thread.is_alive()
        log.close()
