"""Streams split at every byte reach the official client as the same events, and the log as the same bytes."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import openai
import pytest
import uvloop

from driftwheel.records.nouns import Traffic
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.log import TrafficLog
from serve.access.key_ring import ApiKeys
from serve.gateway import Gateway
from serve.metrics import GatewayMetrics
from serve.routing.table import EngineRoute, RoutingTable

KEY = "a-key-for-split-streams"
CLIENTS = 16
BYTE_BY_BYTE = -1
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
MESSAGES: Any = [{"role": "user", "content": "h"}]
CHAT, COMPLETIONS, RESPONSES = "/chat/completions", "/completions", "/responses"


def data(value: Any, end: str = "\n") -> bytes:
    """Write an event as vLLM writes it: compact, and not escaped."""
    return f"data: {json.dumps(value, separators=(',', ':'), ensure_ascii=False)}{end}{end}".encode()


def choice(index: int = 0, finish: str | None = None, **part: Any) -> dict[str, Any]:
    return {"index": index, **part, "finish_reason": finish}


def with_usage(*events: dict[str, Any]) -> bytes:
    """A stream whose usage was asked for: the fingerprint is in the usage event."""
    usage = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}, "system_fingerprint": "v1"}
    return b"".join(data(event) for event in [*events, usage]) + b"data: [DONE]\n\n"


def without_usage(*events: dict[str, Any]) -> bytes:
    """A stream whose usage was not: the fingerprint is in the event of each choice that ends."""
    mark = {"system_fingerprint": "v1"}
    marked = [event | mark if any(c["finish_reason"] for c in event["choices"]) else event for event in events]
    return b"".join(data(event) for event in marked) + b"data: [DONE]\n\n"


def named(*events: dict[str, Any]) -> bytes:
    return b"".join(f"event: {event['type']}\n".encode() + data(event) for event in events)


WORDS = [
    {"choices": [choice(delta={"role": "assistant", "content": ""})]},
    {"choices": [choice(delta={"content": "né"})]},
    {"choices": [choice(finish="stop", delta={"content": "漢🎉"})]},
]
TEXTS = [
    {"choices": [choice(text="é")]},
    {"choices": [choice(1, "stop", text="🎉")]},
    {"choices": [choice(0, "length", text="")]},
]
CALL = {"index": 0, "id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a'}}
TOOLS = [
    {"choices": [choice(delta={"tool_calls": [CALL]})]},
    {"choices": [choice(delta={"tool_calls": [{"index": 0, "function": {"arguments": '":"ü"}'}}]})]},
    {"choices": [choice(finish="tool_calls", delta={})]},
]
ANSWER = {
    "id": "r",
    "object": "response",
    "status": "completed",
    "output": [{"type": "message", "id": "m", "content": [{"type": "output_text", "text": "né"}]}],
}
DELTAS: list[dict[str, Any]] = [
    {"type": "response.created", "response": {"id": "r"}},
    {"type": "response.output_text.delta", "item_id": "m", "delta": "é"},
    {"type": "response.completed", "response": ANSWER},
]
FAILURE = {"error": {"message": "the engine ran out of ✂", "code": 500}}
ASKED = {"stream_options": {"include_usage": True}}


@dataclass(frozen=True)
class Case:
    """What a client asks for and what an engine sends, with the usage asked for and without."""

    path: str
    fields: dict[str, Any]
    without: bytes
    asked: bytes
    is_partial: bool = False


def same(stream: bytes, path: str = CHAT, *, is_partial: bool = False) -> Case:
    return Case(path, {}, stream, stream, is_partial)


CASES = {
    "chat": Case(CHAT, {}, without_usage(*WORDS), with_usage(*WORDS)),
    "usage": Case(CHAT, ASKED, b"", with_usage(*WORDS[1:])),
    "tools": Case(CHAT, {}, without_usage(*TOOLS), with_usage(*TOOLS)),
    "completions": Case(COMPLETIONS, {"n": 2}, without_usage(*TEXTS), with_usage(*TEXTS)),
    "responses": same(named(*DELTAS), RESPONSES),
    "response-error": same(named(DELTAS[1], {"type": "error", "message": "boom"}), RESPONSES, is_partial=True),
    "error": same(data(WORDS[1]) + data(FAILURE) + b"data: [DONE]\n\n", is_partial=True),
    "comments": same(b": hello\n\n" + data(WORDS[1]) + b":\n\n\n\n: wait\n" + data(WORDS[2]) + b"data: [DONE]\n\n"),
    "crlf": same(
        ": é\r\n\r\n".encode()
        + data(WORDS[1], "\r\n")
        + b"id: 7\r\nretry: 9\r\n"
        + data(WORDS[2], "\r\n")
        + b"data: [DONE]\r\n\r\n"
    ),
    "lines": same(b'event: x\ndata: {"choices":\ndata: []}\n\n' + data(WORDS[1]) + b"data:[DONE]\n\n"),
    "unended": same(data(WORDS[1]) + b'data: {"cho', is_partial=True),
}


def wire(stream: bytes) -> bytes:
    """Return a stream as HTTP, each event in a chunk of its own."""
    parts = [part + b"\n\n" for part in stream.split(b"\n\n")]
    parts[-1] = parts[-1].removesuffix(b"\n\n")
    return HEAD + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts if part) + b"0\r\n\r\n"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer as the case in each request says, in two writes, or in one for each byte."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            body = json.loads(await reader.readexactly(int(length[15:])))
            case, at = CASES[body["case"]], body["at"]
            sent = wire(case.asked if body.get("stream_options") == ASKED["stream_options"] else case.without)
            ends = range(1, len(sent) + 1) if at == BYTE_BY_BYTE else (at, len(sent))
            begin = 0
            for end in ends:
                writer.write(sent[begin:end])
                begin = end
                for _ in range(4):  # turns of the loop, in which the gateway reads what was written
                    await asyncio.sleep(0)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


class Tee(httpx2.AsyncBaseTransport):
    """Keeps the bytes of an answer's body while the client reads it."""

    def __init__(self) -> None:
        self._inner = httpx2.AsyncHTTPTransport()
        self.seen: dict[str, bytearray] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        seen = self.seen.setdefault(response.headers.get("x-request-id", "direct"), bytearray())
        response.stream = TeeStream(response.stream, seen)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


@dataclass
class TeeStream(httpx2.AsyncByteStream):
    inner: Any
    seen: bytearray

    def __post_init__(self) -> None:
        self._parts = self._read()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._parts

    async def _read(self) -> AsyncIterator[bytes]:
        async for part in self.inner:
            self.seen += part
            yield part

    async def aclose(self) -> None:
        with contextlib.suppress(httpx2.RemoteProtocolError):  # a client stops at an error; what follows it counts too
            async for _ in self._parts:
                pass
        await self.inner.aclose()


@dataclass
class Seen:
    """What the official client made of one answer."""

    request_id: str
    body: bytes
    events: list[str] = field(default_factory=list)


class Asker:
    """The official client on one connection."""

    def __init__(self, port: int) -> None:
        self._tee = Tee()
        http_client = openai.DefaultAsyncHttpxClient(transport=self._tee)
        url = f"http://127.0.0.1:{port}/v1"
        self._client = openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0, timeout=60, http_client=http_client)

    async def ask(self, name: str, at: int) -> Seen:
        case, client = CASES[name], self._client
        options: Any = {"model": "support", "stream": True, "extra_body": {"case": name, "at": at}, **case.fields}
        self._tee.seen.clear()
        events: list[str] = []
        stream: Any
        if case.path == CHAT:
            stream = await client.chat.completions.create(messages=MESSAGES, **options)
        elif case.path == COMPLETIONS:
            stream = await client.completions.create(prompt="h", **options)
        else:
            stream = await client.responses.create(input="h", **options)
        try:
            async for event in stream:
                events += [event.model_dump_json(warnings=False)]
        except (openai.APIError, httpx2.RemoteProtocolError) as error:
            events.append(f"{type(error).__name__}: {error}")
        await stream.close()
        ((request_id, body),) = self._tee.seen.items()
        return Seen(request_id, bytes(body), events)

    async def close(self) -> None:
        await self._client.close()


async def ask_at_every_position(settings: Settings, ledger: Ledger, name: str) -> tuple[Seen, dict[int, Seen]]:
    """Return what the client sees of the engine itself, and through the gateway for each position of the split."""
    log, routes = TrafficLog(ledger), RoutingTable()
    engine = await asyncio.start_server(answer, "127.0.0.1", 0)
    engine_port = engine.sockets[0].getsockname()[1]
    routes.add(EngineRoute("v1", "127.0.0.1", engine_port, "v1"))
    routes.point("support", "v1")
    gateway = Gateway(settings, log, ledger, routes, GatewayMetrics(), ApiKeys([KEY]))
    server = await gateway.start("127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    direct = Asker(engine_port)
    expected = await direct.ask(name, 0)
    await direct.close()
    first = 0 if name == "chat" else len(HEAD)  # all have the same head
    positions = iter([BYTE_BY_BYTE, *range(first, len(wire(CASES[name].asked)))])
    found: dict[int, Seen] = {}

    async def work() -> None:
        asker = Asker(port)
        for at in positions:
            found[at] = await asker.ask(name, at)
        await asker.close()

    try:
        await asyncio.gather(*(work() for _ in range(CLIENTS)))
    finally:
        await gateway.stop(0.2)
        engine.close()
        await asyncio.to_thread(log.close)
    return expected, found


@pytest.mark.parametrize("name", [name for name in CASES if name != "unended"])
def test_a_stream_split_at_every_byte_is_the_same_stream(settings: Settings, ledger: Ledger, name: str) -> None:
    expected, found = uvloop.run(ask_at_every_position(settings, ledger, name))
    rows = {row.id: row for row in ledger.find(Traffic)}
    assert len(rows) == len(found) > 150
    for at, seen in found.items():
        assert seen.body == expected.body, at
        assert seen.events == expected.events, at
        row = rows[seen.request_id]
        assert (row.response, row.is_stream, row.is_partial) == (seen.body.decode(), True, CASES[name].is_partial), at


def test_a_stream_without_its_end_is_cut_after_its_last_event(settings: Settings, ledger: Ledger) -> None:
    _, found = uvloop.run(ask_at_every_position(settings, ledger, "unended"))
    rows = {row.id: row for row in ledger.find(Traffic)}
    for at, seen in found.items():
        assert (seen.body, len(seen.events)) == (data(WORDS[1]), 2), at
        assert seen.events[1].startswith("APIConnectionError"), at
        assert (rows[seen.request_id].response, rows[seen.request_id].is_partial) == (seen.body.decode(), True), at
