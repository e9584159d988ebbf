"""The real gateway in front of an engine that speaks OpenAI's protocol, asked over real sockets."""

import asyncio
import contextlib
import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest
import uvloop

from driftwheel.callers.api_keys import create_key, digest_of, keys_of
from driftwheel.errors import ConfigError
from driftwheel.records.bookkeeping import Scope
from driftwheel.records.by_whom import Action, Event, Feedback
from driftwheel.records.nouns import DecisionStatus, RetrainDecision, Traffic
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.log import TrafficLog
from serve.access.allow_list import ROUTES
from serve.access.backpressure import Deadlines
from serve.access.key_ring import ApiKeys
from serve.gateway import Gateway
from serve.metrics import GatewayMetrics
from serve.routing.table import EngineRoute, RoutingTable

KEY = "secret-key"
VERSION = "version_1"
ANSWER = '{"intent":"card"}'
BODY = {"model": "support", "messages": [{"role": "user", "content": "where is my card"}], "user": "u1"}


def sse(*values: Any) -> bytes:
    return b"".join(b"data: " + (v if isinstance(v, bytes) else json.dumps(v).encode()) + b"\n\n" for v in values)


def chunk(text: str, finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": VERSION, "choices": [choice]}


USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
USAGE_CHUNK = {**chunk(""), "choices": [], "usage": USAGE}
STREAM = sse(chunk('{"intent":'), chunk('"card"}', "stop"), USAGE_CHUNK, b"[DONE]")
WHOLE: dict[str, Any] = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": VERSION,
    "usage": USAGE,
    "choices": [{"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}],
}


EMBEDDING = {
    "object": "list",
    "model": VERSION,
    "usage": {"prompt_tokens": 4, "total_tokens": 4},
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -0.25]}],
}
MESSAGE = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": ANSWER, "annotations": []}],
}
RESPONSE = {
    "id": "r",
    "object": "response",
    "created_at": 1,
    "model": VERSION,
    "status": "completed",
    "output": [MESSAGE],
    "usage": {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10},
    "parallel_tool_calls": False,
    "tool_choice": "auto",
    "tools": [],
}
DELTA = {"type": "response.output_text.delta", "delta": ANSWER, "item_id": "m", "output_index": 0, "content_index": 0}
RESPONSE_EVENTS: list[dict[str, Any]] = [DELTA, {"type": "response.completed", "response": RESPONSE}]
RESPONSE_STREAM = b"".join(
    f"event: {value['type']}\ndata: {json.dumps({'sequence_number': number, **value})}\n\n".encode()
    for number, value in enumerate(RESPONSE_EVENTS)
)


@dataclass
class Engine:
    """A server that answers as vLLM does; `mode` says how it misbehaves."""

    mode: str = "ok"
    split_at: int = 0
    port: int = 0
    bodies: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)
    connections: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.paths.append(head.split(b" ", 2)[1].decode())
                length = next(int(h[15:]) for h in head.split(b"\r\n") if h.startswith(b"content-length:"))
                body = json.loads(await reader.readexactly(length))
                self.bodies.append(body)
                await self.answer(body, reader, writer)
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            self.left.set()
        finally:
            writer.close()

    async def answer(self, body: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode == "slow":
            await reader.read(1)
            self.left.set()
            writer.close()
        elif self.mode == "refuse":
            self.send(writer, "400 Bad Request", json.dumps({"error": {"message": "too long"}}).encode())
        elif self.mode == "die":
            writer.close()
        elif self.mode == "endless":
            await self.flood(writer)
        elif self.paths[-1] == "/v1/embeddings":
            self.send(writer, "200 OK", json.dumps(EMBEDDING).encode())
        elif self.paths[-1] == "/v1/responses" and not body.get("stream"):
            self.send(writer, "200 OK", json.dumps(RESPONSE).encode())
        elif body.get("stream"):
            await self.stream(reader, writer)
        else:
            self.send(writer, "200 OK", json.dumps(WHOLE).encode())
            if self.mode == "close_after":
                writer.close()

    async def stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        first = sse(chunk('{"intent":'))
        if self.mode in ("die_in_stream", "hang_in_stream"):
            writer.write(head + b"%x\r\n%b\r\n" % (len(first), first))
            await writer.drain()
            if self.mode == "hang_in_stream":
                await reader.read(1)
                self.left.set()
            writer.close()
            return
        writer.write(head)
        stream = RESPONSE_STREAM if self.paths[-1] == "/v1/responses" else STREAM
        for part in (stream[: self.split_at], stream[self.split_at :]):
            if part:
                writer.write(b"%x\r\n%b\r\n" % (len(part), part))
                await writer.drain()
                await asyncio.sleep(0)
        writer.write(b"0\r\n\r\n")

    async def flood(self, writer: asyncio.StreamWriter) -> None:
        events = sse(chunk("card")) * 50
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(2000):
            writer.write(b"%x\r\n%b\r\n" % (len(events), events))
            await writer.drain()

    def send(self, writer: asyncio.StreamWriter, status: str, body: bytes) -> None:
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)


def wait_until(holds: Callable[[], bool], otherwise: str) -> None:
    """Wait for what must come, for a minute."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)


@dataclass
class World:
    """A running gateway, its engine, and a second connection to its ledger."""

    gateway: Gateway
    engine: Engine
    ledger: Ledger
    routes: RoutingTable
    keys: ApiKeys
    loop: asyncio.AbstractEventLoop
    port: int

    def ask(self, path: str, body: Any = None, *, method: str = "POST", key: str = KEY) -> tuple[int, Any, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection.request(method, path, data, {"authorization": f"Bearer {key}"} if key else {})
        response = connection.getresponse()
        try:
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def rows(self) -> list[Traffic]:
        other = Ledger(self.ledger.url)
        try:
            return other.find(Traffic)
        finally:
            other.close()

    def wait_for_row(self) -> Traffic:
        wait_until(lambda: bool(self.rows()), "no row")
        return self.rows()[0]

    def run(self, change: Callable[[], Any]) -> Any:
        async def call() -> Any:
            return change()

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(60)


@pytest.fixture
def world(request: pytest.FixtureRequest, settings: Settings, ledger: Ledger) -> Iterator[World]:
    """A gateway that listens; its parameter is `serve.log`."""
    changes = {"max_body_bytes": 2048, "request_timeout_seconds": 60.0, "log": getattr(request, "param", "required")}
    serve = settings.serve.model_copy(update=changes)
    policy = settings.policy.model_copy(update={"min_fresh_labels": 1})
    settings = settings.model_copy(update={"serve": serve, "policy": policy})
    log, engine, routes = TrafficLog(ledger), Engine(), RoutingTable()
    started: list[World] = []
    ready, stop = threading.Event(), asyncio.Event()

    async def main() -> None:
        upstream = await asyncio.start_server(engine.serve, "127.0.0.1", 0)
        engine.port = upstream.sockets[0].getsockname()[1]
        routes.add(EngineRoute(VERSION, "127.0.0.1", engine.port, VERSION))
        routes.point("support", VERSION)
        keys = ApiKeys([KEY])
        gateway = Gateway(settings, log, ledger, routes, GatewayMetrics(), keys)
        server = await gateway.start("127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        started.append(World(gateway, engine, ledger, routes, keys, asyncio.get_running_loop(), port))
        ready.set()
        await stop.wait()
        await gateway.stop(0.2)
        upstream.close()
        for writer in engine.writers:
            writer.transport.abort()
        await asyncio.sleep(0.05)

    thread = threading.Thread(target=uvloop.run, args=(main(),))
    thread.start()
    assert ready.wait(60)
    yield started[0]
    started[0].loop.call_soon_threadsafe(stop.set)
    thread.join(60)
    assert not thread.is_alive()
    log.close()


CHAT = "/v1/chat/completions"


@pytest.mark.every_database
def test_an_answer_passes_byte_for_byte_and_its_row_is_already_durable(world: World) -> None:
    status, headers, body = world.ask(CHAT, {**BODY, "metadata": {"conversation": "c1"}})
    (row,) = world.rows()
    assert (status, body) == (200, json.dumps(WHOLE).encode())
    assert (headers["x-request-id"], headers["x-driftwheel-version"]) == (row.id, VERSION)
    assert (row.prompt, row.answer, row.finish_reason) == ("where is my card", ANSWER, "stop")
    assert (row.prompt_tokens, row.completion_tokens, row.alias, row.version_id) == (7, 3, "support", VERSION)
    assert (row.user_id, row.conversation_id, len(row.key_id), row.is_partial) == ("u1", "c1", 8, False)
    assert row.response == body.decode()


def test_the_engine_gets_its_own_model_name_and_every_other_byte_unchanged(world: World) -> None:
    raw = b'{ "temperature":0.10,  "model" : "support", "messages":[{"role":"user","content":"\\u00e9"}]}'
    world.ask(CHAT, raw)
    assert world.engine.bodies[0] == {**json.loads(raw), "model": VERSION}
    assert world.rows()[0].request == raw.decode()


@pytest.mark.every_database
@pytest.mark.parametrize("wants_usage", [False, True], ids=["usage-stripped", "usage-kept"])
def test_a_stream_split_anywhere_arrives_whole_after_its_row(world: World, wants_usage: bool) -> None:
    body = {**BODY, "stream": True} | ({"stream_options": {"include_usage": True}} if wants_usage else {})
    expected = STREAM if wants_usage else STREAM.replace(sse(USAGE_CHUNK), b"")
    for split_at in range(0, len(STREAM), 60):  # test_split_streams.py has every byte
        world.engine.split_at = split_at
        status, _, answer = world.ask(CHAT, body)
        assert (status, answer) == (200, expected)
    rows = world.rows()
    assert {(r.answer, r.finish_reason, r.completion_tokens, r.is_partial, r.response) for r in rows} == {
        (ANSWER, "stop", 3, False, expected.decode())
    }
    assert all(sent["stream_options"] == {"include_usage": True} for sent in world.engine.bodies)
    assert rows[0].time_to_first_token_seconds is not None


def test_what_the_engine_refuses_it_refuses_as_the_client_wrote_it(world: World) -> None:
    world.engine.mode = "refuse"
    assert world.ask(CHAT, {**BODY, "stream": True})[0] == 400
    assert [sent.get("stream_options") for sent in world.engine.bodies] == [{"include_usage": True}, None]
    assert len(world.rows()) == 1


def test_the_official_client_reads_answers_and_streams(world: World) -> None:
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{world.port}/v1", api_key=KEY, max_retries=0)
    messages: Any = BODY["messages"]
    with client:
        assert [m.id for m in client.models.list()] == ["support", VERSION]
        whole = client.chat.completions.create(model="support", messages=messages)
        assert whole.choices[0].message.content == ANSWER
        stream = client.chat.completions.create(model=VERSION, messages=messages, stream=True)
        assert "".join(part.choices[0].delta.content or "" for part in stream) == ANSWER
        with pytest.raises(openai.NotFoundError, match="support"):
            client.chat.completions.create(model="other", messages=messages)
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="wrong").models.list()


def test_the_official_client_reads_responses_and_embeddings_and_each_has_its_row(world: World) -> None:
    with openai.OpenAI(base_url=f"http://127.0.0.1:{world.port}/v1", api_key=KEY, max_retries=0) as client:
        assert client.responses.create(model="support", input="where is my card").output_text == ANSWER
        kinds = [
            event.type for event in client.responses.create(model="support", input="where is my card", stream=True)
        ]
        vectors = client.embeddings.create(model="support", input="where is my card", encoding_format="float")
    assert kinds == ["response.output_text.delta", "response.completed"]
    assert vectors.data[0].embedding == [0.5, -0.25]
    assert "stream_options" not in world.engine.bodies[1]
    rows = {(row.route, row.is_stream): row for row in world.rows()}
    assert {row.prompt for row in rows.values()} == {"where is my card"}
    for is_stream in (False, True):
        row = rows["/v1/responses", is_stream]
        assert (row.answer, row.finish_reason, row.prompt_tokens, row.completion_tokens) == (ANSWER, "stop", 7, 3)
    assert (rows["/v1/embeddings", False].prompt_tokens, len(rows)) == (4, 3)


def test_what_a_client_may_send_passes_unchanged(world: World) -> None:
    extras = {
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": "auto",
        "response_format": {"type": "json_object"},
        "structured_outputs": {"choice": ["a", "b"]},
        "n": 2,
        "logprobs": True,
        "top_logprobs": 3,
        "stop": ["\n"],
        "seed": 1,
        "logit_bias": {"5": -100},
    }
    assert world.ask(CHAT, {**BODY, **extras})[0] == 200
    assert world.engine.bodies[0] == {**BODY, **extras, "model": VERSION}


def test_the_openapi_document_names_every_route_and_method(world: World) -> None:
    status, _, body = world.ask("/openapi.json", method="GET")
    paths = json.loads(body)["paths"]
    assert (status, set(paths)) == (200, set(ROUTES))
    for path, operations in paths.items():
        for method in ("get", "post"):
            got = world.ask(path, None if method == "get" else {}, method=method.upper())[0]
            assert (got != 405) == (method in operations), path


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/v1/load_lora_adapter", {}, 404, "unknown_route"),
        ("GET", "/sleep", None, 404, "unknown_route"),
        ("GET", CHAT, None, 405, "method_not_allowed"),
        ("POST", CHAT, b"{", 400, "invalid_json"),
        ("POST", CHAT, b"[]", 400, "invalid_json"),
        ("POST", CHAT, b"\xff", 400, "invalid_json"),
        ("POST", CHAT, b'{"a":' * 50_00, 413, "body_too_large"),
        ("POST", CHAT, {"messages": []}, 400, "invalid_model"),
        ("POST", CHAT, {**BODY, "model": "gpt"}, 404, "model_not_found"),
        ("POST", CHAT, {**BODY, "guided_choice": ["a"]}, 400, "unsupported_parameter"),
        ("POST", "/v1/feedback", {"request_id": "req_none", "thumb": 1}, 404, "not_found"),
        ("POST", "/v1/feedback", {"request_id": "req_none", "thumb": 2}, 400, "invalid_field"),
        ("POST", "/v1/feedback", {"request_id": "req_none"}, 400, "missing_field"),
        ("POST", "/v1/feedback", {"request_id": "req_none", "signal": "sung"}, 400, "invalid_field"),
        ("POST", "/v1/feedback", {"request_id": "req_none", "withdraw": "yes"}, 400, "invalid_field"),
        ("POST", "/v1/feedback", {"request_id": "req_none", "withdraw": True, "thumb": 1}, 400, "invalid_field"),
    ],
)
def test_what_cannot_be_answered_says_why(
    world: World, method: str, path: str, body: Any, status: int, code: str
) -> None:
    got, headers, answer = world.ask(path, body, method=method)
    assert (got, json.loads(answer)["error"]["code"]) == (status, code)
    assert headers["x-request-id"]
    assert world.rows() == []


@pytest.mark.parametrize("key", ["", "wrong"])
def test_a_request_without_a_known_key_gets_nothing(world: World, key: str) -> None:
    assert world.ask(CHAT, BODY, key=key)[0] == 401
    assert world.ask("/v1/models", method="GET", key=key)[0] == 401
    assert world.engine.bodies == []


def test_a_body_that_grows_too_large_is_refused_while_it_arrives(world: World) -> None:
    with socket.create_connection(("127.0.0.1", world.port), timeout=60) as client:
        head = f"POST /v1/completions HTTP/1.1\r\nauthorization: Bearer {KEY}\r\ntransfer-encoding: chunked\r\n\r\n"
        client.sendall(head.encode())
        client.sendall(b"800\r\n" + b"x" * 2048 + b"\r\n1\r\nx\r\n")
        assert client.recv(65_536).startswith(b"HTTP/1.1 413 ")


def test_a_stranger_is_refused_before_the_body_is_sent(world: World) -> None:
    with socket.create_connection(("127.0.0.1", world.port), timeout=60) as client:
        client.sendall(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2000\r\n\r\n")
        assert client.recv(65_536).startswith(b"HTTP/1.1 401 ")


def test_a_key_with_limits_is_told_them_and_held_to_them(world: World) -> None:
    _, key = create_key(world.ledger, "support", "bot", [Scope.ASK], requests_per_minute=60, tokens_per_minute=5)
    world.run(lambda: world.keys.load(keys_of(world.ledger, "support")))
    began_at = time.monotonic()
    status, headers, _ = world.ask(CHAT, BODY, key=key)
    assert (status, headers["x-ratelimit-limit-requests"], world.rows()[0].key_id) == (200, "60", "support/bot")
    status, headers, body = world.ask(CHAT, BODY, key=key)
    assert (status, headers["x-ratelimit-remaining-tokens"]) == (429, "0")
    # 10 tokens were used of 5, so 5 and a bit must flow back, of which a slow machine has given some already.
    assert 60 - (time.monotonic() - began_at) <= int(headers["retry-after"]) <= 61
    assert json.loads(body)["error"]["code"] == "rate_limit_exceeded"
    assert world.ask("/v1/feedback", {"request_id": "r"}, key=key)[0] == 403


@pytest.mark.parametrize(
    ("path", "method", "body"),
    [
        ("/v1/feedback", "POST", {"request_id": "req_none", "thumb": 1}),
        ("/v1/hooks/alertmanager", "POST", {"alerts": []}),
        ("/v1/models", "GET", None),
        ("/openapi.json", "GET", None),
        ("/metrics", "GET", None),
    ],
)
def test_a_keys_limit_holds_on_every_route(world: World, path: str, method: str, body: Any) -> None:
    _, key = create_key(world.ledger, "support", "bot", list(Scope), requests_per_minute=2, tokens_per_minute=1)
    world.run(lambda: world.keys.load(keys_of(world.ledger, "support")))
    assert world.ask(CHAT, BODY, key=key)[0] == 200  # and now it has no tokens left, which only engines cost
    answers = [world.ask(path, body, key=key, method=method)[0] for _ in range(10)]
    assert answers == [answers[0]] + [429] * 9, "the next place is free in half a minute"
    assert answers[0] in (200, 404)
    assert world.ask("/healthz", key=key, method="GET")[0] == 200


def test_a_key_that_may_only_give_feedback_judges_no_others_answers(world: World) -> None:
    keys = {
        name: create_key(world.ledger, "support", name, scopes)[1]
        for name, scopes in (
            ("web", [Scope.ASK, Scope.FEEDBACK]),
            ("shop", [Scope.FEEDBACK]),
            ("crowd", [Scope.LABEL]),
            ("desk", [Scope.LABEL_TRUSTED]),
        )
    }
    world.run(lambda: world.keys.load(keys_of(world.ledger, "support")))
    request_id = world.ask(CHAT, BODY, key=keys["web"])[1]["x-request-id"]

    def label(name: str, text: str) -> tuple[int, Any]:
        status, _, answer = world.ask("/v1/feedback", {"request_id": request_id, "label": text}, key=keys[name])
        return status, json.loads(answer).get("label")

    assert label("shop", "stolen") == (404, None)
    assert label("web", "card") == (200, "card")
    assert label("crowd", "loan") == (200, "loan")
    assert label("desk", "refund") == (200, "refund")
    assert label("web", "card again") == (200, "refund")
    assert label("crowd", "loan again") == (200, "refund")
    status, _, answer = world.ask("/v1/feedback", {"request_id": request_id, "withdraw": True}, key=keys["desk"])
    assert (status, json.loads(answer)["label"]) == (200, "loan again")
    assert world.ask("/v1/feedback", {"request_id": request_id, "withdraw": True}, key=keys["desk"])[0] == 404
    trusts = {word.author: word.trust for word in world.ledger.find(Feedback)}
    assert trusts == {"support/web": "none", "support/crowd": "label", "support/desk": "trusted"}


def test_headers_that_never_end_are_refused(world: World) -> None:
    with socket.create_connection(("127.0.0.1", world.port), timeout=60) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nx: " + b"a" * 70_000)
        assert client.recv(65_536).startswith(b"HTTP/1.1 431 ")


def test_trailers_that_never_end_are_refused(world: World) -> None:
    with socket.create_connection(("127.0.0.1", world.port), timeout=60) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: ")
        client.sendall(b"a" * 70_000)
        assert client.recv(65_536).startswith(b"HTTP/1.1 431 ")


def test_a_body_of_many_small_chunks_is_taken(world: World) -> None:
    with socket.create_connection(("127.0.0.1", world.port), timeout=60) as client:
        head = f"POST /v1/completions HTTP/1.1\r\nauthorization: Bearer {KEY}\r\ntransfer-encoding: chunked\r\n\r\n"
        client.sendall(head.encode())
        body = json.dumps(BODY).encode()
        for at in range(len(body)):
            client.sendall(b"1;%b\r\n" % (b"x" * 2000))
            time.sleep(0.001)
            client.sendall(body[at : at + 1] + b"\r\n")
        client.sendall(b"0\r\n\r\n")
        assert client.recv(65_536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/feedback", b'{"request_id": "\\ud800", "thumb": 1}', 404),
        ("/v1/feedback", b'{"request_id": "a\\u0000", "label": "\\udfff"}', 404),
        (
            "/v1/hooks/alertmanager",
            b'{"alerts": [{"status": "firing", "labels": {"action": "retrain"}, "fingerprint": "\\ud800\\u0000"}]}',
            200,
        ),
    ],
    ids=["id", "NUL", "alert"],
)
@pytest.mark.every_database
def test_a_text_that_no_database_takes_is_no_bug(world: World, path: str, body: bytes, status: int) -> None:
    assert world.ask(path, body)[0] == status


def test_a_refusal_quotes_only_so_much(world: World) -> None:
    status, _, answer = world.ask(CHAT, {**BODY, "model": "m" * 1500})
    assert (status, len(answer) < 1200) == (404, True)


def test_pipelined_requests_are_answered_in_order_on_one_connection(world: World) -> None:
    with socket.create_connection(("127.0.0.1", world.port), timeout=60) as client:
        get = b"GET %b HTTP/1.1\r\nhost: x\r\nauthorization: Bearer " + KEY.encode() + b"\r\n\r\n"
        client.sendall(get % b"/healthz" + get % b"/none" + get % b"/sleep")
        client.sendall(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        received = b""
        while part := client.recv(65_536):
            received += part
    assert re.findall(rb"HTTP/1.1 (\d+) ", received) == [b"200", b"404", b"404", b"200"]


@pytest.mark.every_database
def test_an_engine_that_dies_in_a_stream_cuts_it_and_leaves_a_partial_row(world: World) -> None:
    world.engine.mode = "die_in_stream"
    with pytest.raises(http.client.IncompleteRead) as cut:
        world.ask(CHAT, {**BODY, "stream": True})
    assert b"[DONE]" not in cut.value.partial
    row = world.wait_for_row()
    assert (row.is_partial, row.answer, row.status_code) == (True, '{"intent":', 200)
    assert row.response == cut.value.partial.decode()


@pytest.mark.every_database
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
def test_a_client_that_leaves_stops_the_engine_and_leaves_a_partial_row(world: World, is_stream: bool) -> None:
    world.engine.mode = "hang_in_stream" if is_stream else "slow"
    body = json.dumps({**BODY, "stream": is_stream}).encode()
    with socket.create_connection(("127.0.0.1", world.port), timeout=60) as client:
        head = f"POST {CHAT} HTTP/1.1\r\nauthorization: Bearer {KEY}\r\ncontent-length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        if is_stream:
            assert client.recv(100)
        else:
            wait_until(lambda: bool(world.engine.bodies), "the engine is not asked")
    assert world.engine.left.wait(30), "the engine still works"  # its time is up after 60
    row = world.wait_for_row()
    assert (row.is_partial, row.status_code) == (True, 200 if is_stream else 499)
    idle = asyncio.run_coroutine_threadsafe(world.routes.wait_idle(VERSION, 60), world.loop)
    assert idle.result(timeout=60), "the engine still counts as asked"


@pytest.mark.every_database
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
def test_a_client_that_leaves_while_its_row_is_written_makes_it_partial(world: World, is_stream: bool) -> None:
    body = json.dumps({**BODY, "stream": is_stream}).encode()
    with world.ledger.write() as held, socket.create_connection(("127.0.0.1", world.port), timeout=60) as client:
        if held.dialect.name == "postgresql":
            held.exec_driver_sql("LOCK TABLE req IN EXCLUSIVE MODE")
        head = f"POST {CHAT} HTTP/1.1\r\nauthorization: Bearer {KEY}\r\ncontent-length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        wait_until(lambda: world.gateway._traffic_log.stalled_seconds > 0, "its row is not written")
    wait_until(lambda: world.wait_for_row().is_partial, "the row says that the answer arrived")


@pytest.mark.parametrize(("mode", "status"), [("refuse", 400), ("die", 503), ("slow", 504)])
def test_a_failed_answer_is_logged_with_its_status(world: World, mode: str, status: int) -> None:
    world.engine.mode = mode
    if mode == "slow":
        relay = world.gateway._relay
        relay._serve = relay._serve.model_copy(update={"request_timeout_seconds": 1.0})
    got, headers, _ = world.ask(CHAT, BODY)
    (row,) = world.rows()
    assert (got, row.status_code, row.id) == (status, status, headers["x-request-id"])
    assert row.error


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "streamed"])
def test_one_connection_to_the_engine_carries_one_request_after_another(world: World, is_stream: bool) -> None:
    assert [world.ask(CHAT, {**BODY, "stream": is_stream})[0] for _ in range(5)] == [200] * 5
    assert world.engine.connections == 1


def test_a_pooled_connection_that_went_stale_is_replaced(world: World) -> None:
    world.engine.mode = "close_after"
    assert [world.ask(CHAT, BODY)[0] for _ in range(20)] == [200] * 20


def test_no_ready_engine_is_503_with_retry_after(world: World) -> None:
    world.run(lambda: setattr(world.routes.replicas(VERSION)[0], "is_ready", False))
    status, headers, _ = world.ask(CHAT, BODY)
    assert (status, headers["retry-after"]) == (503, "2")


@pytest.mark.every_database
def test_an_answer_whose_row_cannot_be_written_is_withheld(world: World) -> None:
    with world.ledger.write() as connection:
        connection.exec_driver_sql("DROP TABLE req")
    status, _, body = world.ask(CHAT, BODY)
    assert (status, json.loads(body)["error"]["code"]) == (503, "log_unavailable")
    with pytest.raises(http.client.IncompleteRead) as cut:
        world.ask(CHAT, {**BODY, "stream": True})
    assert b"[DONE]" not in cut.value.partial
    assert b"driftwheel_log_failures_total 2.0" in world.ask("/metrics", method="GET")[2]


@pytest.mark.every_database
@pytest.mark.parametrize("world", ["best_effort"], indirect=True)
def test_with_best_effort_an_answer_is_given_and_counted_although_its_row_cannot_be_written(world: World) -> None:
    assert world.ask(CHAT, BODY)[0] == 200
    assert world.wait_for_row().answer == ANSWER
    with world.ledger.write() as connection:
        connection.exec_driver_sql("DROP TABLE req")
    assert world.ask(CHAT, BODY)[::2] == (200, json.dumps(WHOLE).encode())
    assert world.ask(CHAT, {**BODY, "stream": True})[2].endswith(b"data: [DONE]\n\n")

    def page() -> bytes:
        return world.ask("/metrics", method="GET")[2]

    wait_until(lambda: b"driftwheel_unlogged_answers_total 2.0" in page(), "nobody would be alerted")
    assert b"driftwheel_log_failures_total 0.0" in page()


@pytest.mark.every_database
def test_text_that_no_database_takes_does_not_stop_the_log(world: World) -> None:
    odd = {**BODY, "messages": [{"role": "user", "content": "a\ud800\x00b"}], "user": "\udfff"}
    assert [world.ask(CHAT, odd)[0] for _ in range(2)] == [200, 200]
    assert world.rows()[0].prompt == "a\ufffd\ufffdb"


@pytest.mark.every_database
def test_feedback_finds_the_request_by_the_id_that_the_answer_carried(world: World) -> None:
    request_id = world.ask(CHAT, BODY)[1]["x-request-id"]
    status, _, _ = world.ask("/v1/feedback", {"request_id": request_id, "thumb": -1, "label": "loan"})
    (row,) = world.rows()
    assert (status, row.thumb, row.label, row.label_source) == (200, -1, "loan", "label")
    assert b'driftwheel_feedback_total{kind="thumb_down"} 1.0' in world.ask("/metrics", method="GET")[2]


def test_a_repeated_alert_asks_for_one_retrain_and_a_person_must_approve_it(world: World) -> None:
    alert = {"status": "firing", "labels": {"action": "retrain"}, "fingerprint": "f1", "startsAt": "2026-11-21T00:00Z"}
    others = [{**alert, "status": "resolved"}, {**alert, "labels": {"action": "page"}}]
    status, _, said = world.ask("/v1/hooks/alertmanager", {"version": "4", "alerts": [alert, *others]})
    assert (status, json.loads(said)["against"]) == (
        200,
        ["no retrain now: 0 fresh labelled rows, 1 needed: label more"],
    )
    request_id = world.ask(CHAT, BODY)[1]["x-request-id"]
    assert world.ask("/v1/feedback", {"request_id": request_id, "label": "loan"})[0] == 200
    for _ in range(2):
        assert world.ask("/v1/hooks/alertmanager", {"version": "4", "alerts": [alert, *others]})[0] == 200
    assert world.ask("/v1/hooks/alertmanager", {"alerts": [alert]}, key="")[0] == 401
    found = [(d.trigger, d.status) for d in world.ledger.find(RetrainDecision)]
    assert found == [("webhook", DecisionStatus.AWAITING_APPROVAL)]
    assert [event.actor for event in world.ledger.find(Event, action=Action.ASK_RETRAIN.value)] == [digest_of(KEY)[:8]]


def test_ready_means_a_recent_token_from_the_alias_engine(world: World) -> None:
    assert world.ask("/readyz", method="GET", key="")[0] == 503
    world.ask(CHAT, BODY)
    assert world.ask("/readyz", method="GET", key="")[0] == 200
    world.run(lambda: setattr(world.routes.replicas(VERSION)[0], "last_token_at", time.monotonic() - 1000))
    assert world.ask("/readyz", method="GET", key="")[0] == 503
    assert world.ask("/healthz", method="GET", key="")[0] == 200


@pytest.mark.parametrize(("world", "status"), [("required", 503), ("best_effort", 200)], indirect=["world"])
def test_while_rows_wait_nothing_is_ready_and_requests_are_told_at_once(world: World, status: int) -> None:
    world.ask(CHAT, BODY)
    log = world.gateway._traffic_log
    # Its row is on the disk, but the writer's thread is perhaps not at rest, and would take back what is planted.
    wait_until(lambda: log.stalled_seconds == 0, "the writer is not at rest")
    world.run(lambda: setattr(log, "_writes_since", time.monotonic() - 3))
    assert world.ask("/readyz", method="GET", key="")[0] == 503
    told, headers, body = world.ask(CHAT, BODY)
    assert told == status
    if status == 503:
        assert (headers["retry-after"], json.loads(body)["error"]["code"]) == ("1", "ledger_unavailable")
    world.run(lambda: setattr(log, "_writes_since", None))
    assert world.ask("/readyz", method="GET", key="")[0] == 200
    assert world.ask(CHAT, BODY)[0] == 200


def test_other_machines_are_not_served_without_a_key(settings: Settings, ledger: Ledger) -> None:
    log = TrafficLog(ledger)

    async def start() -> None:
        gateway = Gateway(settings, log, ledger, RoutingTable(), GatewayMetrics(), ApiKeys([]))
        await gateway.start("0.0.0.0", 0)

    with pytest.raises(ConfigError, match="keys create"):
        asyncio.run(start())
    log.close()


SHORT = Deadlines(headers_seconds=0.3, body_seconds=0.4, unread_seconds=0.4)


def hear(world: World, start: bytes, drip: bytes) -> tuple[bytes, float]:
    """Send a start and then a drip ten times a second; return what came before the end, and after how long.

    A minute is no end: for ever.
    """
    started_at, heard = time.monotonic(), b""
    with socket.create_connection(("127.0.0.1", world.port), timeout=0.1) as client:
        client.sendall(start)
        while time.monotonic() - started_at < 60:
            with contextlib.suppress(TimeoutError):
                part = client.recv(65_536)
                if not part:
                    break
                heard += part
            with contextlib.suppress(OSError):
                client.sendall(drip)
    return heard, time.monotonic() - started_at


@pytest.mark.parametrize("part", ["nothing", "line ends", "headers", "body"])
def test_a_client_that_only_drips_is_closed(world: World, part: str) -> None:
    world.run(lambda: setattr(world.gateway.backpressure, "deadlines", SHORT))
    head = f"POST {CHAT} HTTP/1.1\r\nauthorization: Bearer {KEY}\r\ncontent-length: 1000\r\n\r\n".encode()
    start = {"nothing": b"", "line ends": b"\r\n", "headers": b"GET / HTTP/1.1\r\nx: ", "body": head}[part]
    drip = {"nothing": b"", "line ends": b"\r\n"}.get(part, b"a")
    heard, seconds = hear(world, start, drip)
    # The deadline, a sweep, and the linger that lets the client read the refusal are 3 s; a slow machine takes longer,
    # but not as long as the deadlines that nobody shortened.
    assert seconds < Deadlines().headers_seconds
    assert heard.startswith(b"HTTP/1.1 408 ") == (part in ("headers", "body"))


def test_a_client_that_does_not_read_is_cut_off_and_leaves_a_partial_row(world: World) -> None:
    world.run(lambda: setattr(world.gateway.backpressure, "deadlines", SHORT))
    world.engine.mode = "endless"
    body = json.dumps({**BODY, "stream": True}).encode()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", world.port))
        head = f"POST {CHAT} HTTP/1.1\r\nauthorization: Bearer {KEY}\r\ncontent-length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        row = world.wait_for_row()
    assert (row.is_partial, row.error) == (True, "the client left before the answer ended")


def test_a_compressed_body_and_too_many_headers_are_refused(world: World) -> None:
    head = f"POST {CHAT} HTTP/1.1\r\nauthorization: Bearer {KEY}\r\n".encode()
    for more, status in ((b"content-encoding: gzip\r\n", b"415"), (b"x: y\r\n" * 200, b"431")):
        heard, _ = hear(world, head + more + b"content-length: 2\r\n\r\n{}", b"")
        assert heard.startswith(b"HTTP/1.1 " + status)


def test_connections_beyond_the_limit_are_closed_at_once(world: World) -> None:
    world.run(lambda: setattr(world.gateway.backpressure, "max_connections", 2))
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", world.port), 60)) for _ in range(3)]
        with contextlib.suppress(ConnectionResetError):
            assert clients[2].recv(1) == b""
        clients[0].sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert clients[0].recv(100).startswith(b"HTTP/1.1 200 ")


def test_those_who_were_refused_keep_no_place(world: World) -> None:
    world.run(lambda: setattr(world.gateway.backpressure, "max_connections", 2))
    with contextlib.ExitStack() as stack:
        for _ in range(6):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", world.port), 60))
            client.sendall(b"nonsense\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 400 ")
        assert world.ask("/healthz", method="GET")[0] == 200


@pytest.mark.parametrize("path", [CHAT, "/v1/models"])
def test_a_bug_of_the_gateway_is_counted_as_the_500_that_it_answers(
    world: World, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("a bug")

    for method in ("pick", "served_models"):
        monkeypatch.setattr(RoutingTable, method, fail)
    is_chat = path == CHAT
    assert world.ask(path, BODY if is_chat else None, method="POST" if is_chat else "GET")[0] == 500
    page = world.run(world.gateway.metrics.page).decode()
    assert f'driftwheel_requests_total{{code="500",route="{path}",version="none"}} 1.0' in page
