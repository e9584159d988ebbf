"""The real gateway in front of an engine that speaks OpenAI's protocol, asked over real sockets."""

import asyncio
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

from driftwheel.config import Settings
from driftwheel.errors import ConfigError
from driftwheel.ledger import Ledger
from driftwheel.records import RetrainDecision, Traffic
from driftwheel.traffic import TrafficLog
from serve.gateway import Gateway
from serve.keys import ApiKeys
from serve.metrics import GatewayMetrics
from serve.routes import EngineRoute, RoutingTable

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
WHOLE = {
    "id": "c", "object": "chat.completion", "created": 1, "model": VERSION, "usage": USAGE,
    "choices": [{"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}],
}  # fmt: skip


@dataclass
class Engine:
    """A server that answers as vLLM does; `mode` says how it misbehaves."""

    mode: str = "ok"
    split_at: int = 0
    port: int = 0
    bodies: list[dict[str, Any]] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
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
        for part in (STREAM[: self.split_at], STREAM[self.split_at :]):
            if part:
                writer.write(b"%x\r\n%b\r\n" % (len(part), part))
                await writer.drain()
                await asyncio.sleep(0)
        writer.write(b"0\r\n\r\n")

    def send(self, writer: asyncio.StreamWriter, status: str, body: bytes) -> None:
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)


@dataclass
class World:
    """A running gateway, its engine, and a second connection to its ledger."""

    gateway: Gateway
    engine: Engine
    ledger: Ledger
    routes: RoutingTable
    loop: asyncio.AbstractEventLoop
    port: int

    def ask(self, path: str, body: Any = None, *, method: str = "POST", key: str = KEY) -> tuple[int, Any, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
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
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            if rows := self.rows():
                return rows[0]
            time.sleep(0.02)
        raise AssertionError("no row")

    def run(self, change: Callable[[], Any]) -> Any:
        async def call() -> Any:
            return change()

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(5)


@pytest.fixture
def world(settings: Settings, ledger: Ledger) -> Iterator[World]:
    serve = settings.serve.model_copy(update={"max_body_bytes": 2048, "request_timeout_seconds": 1.0})
    settings = settings.model_copy(update={"serve": serve})
    log, engine, routes = TrafficLog(ledger), Engine(), RoutingTable()
    started: list[World] = []
    ready, stop = threading.Event(), asyncio.Event()

    async def main() -> None:
        upstream = await asyncio.start_server(engine.serve, "127.0.0.1", 0)
        engine.port = upstream.sockets[0].getsockname()[1]
        routes.add(EngineRoute(VERSION, "127.0.0.1", engine.port, VERSION))
        routes.point("support", VERSION)
        gateway = Gateway(settings, log, ledger, routes, GatewayMetrics(), ApiKeys([KEY]))
        server = await gateway.start("127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        started.append(World(gateway, engine, ledger, routes, asyncio.get_running_loop(), port))
        ready.set()
        await stop.wait()
        await gateway.stop(0.2)
        upstream.close()
        await asyncio.sleep(0.02)

    thread = threading.Thread(target=uvloop.run, args=(main(),))
    thread.start()
    assert ready.wait(10)
    yield started[0]
    started[0].loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    assert not thread.is_alive()
    log.close()


CHAT = "/v1/chat/completions"


def test_an_answer_passes_byte_for_byte_and_its_row_is_already_durable(world: World) -> None:
    status, headers, body = world.ask(CHAT, {**BODY, "metadata": {"conversation": "c1"}})
    (row,) = world.rows()
    assert (status, body) == (200, json.dumps(WHOLE).encode())
    assert (headers["x-request-id"], headers["x-driftwheel-version"]) == (row.id, VERSION)
    assert (row.prompt, row.answer, row.finish_reason) == ("where is my card", ANSWER, "stop")
    assert (row.prompt_tokens, row.completion_tokens, row.alias, row.version_id) == (7, 3, "support", VERSION)
    assert (row.user_id, row.conversation_id, len(row.key_id), row.is_partial) == ("u1", "c1", 8, False)


def test_the_engine_gets_its_own_model_name_and_every_other_byte_unchanged(world: World) -> None:
    raw = b'{ "temperature":0.10,  "model" : "support", "messages":[{"role":"user","content":"\\u00e9"}]}'
    world.ask(CHAT, raw)
    assert world.engine.bodies[0] == {**json.loads(raw), "model": VERSION}
    assert world.rows()[0].request == raw.decode()


@pytest.mark.parametrize("wants_usage", [False, True], ids=["usage-stripped", "usage-kept"])
def test_a_stream_split_anywhere_arrives_whole_after_its_row(world: World, wants_usage: bool) -> None:
    body = {**BODY, "stream": True} | ({"stream_options": {"include_usage": True}} if wants_usage else {})
    expected = STREAM if wants_usage else STREAM.replace(sse(USAGE_CHUNK), b"")
    for split_at in range(0, len(STREAM), 7 if wants_usage else 3):
        world.engine.split_at = split_at
        status, _, answer = world.ask(CHAT, body)
        assert (status, answer) == (200, expected)
    rows = world.rows()
    assert {(r.answer, r.finish_reason, r.completion_tokens, r.is_partial) for r in rows} == {
        (ANSWER, "stop", 3, False)
    }
    assert all(sent["stream_options"] == {"include_usage": True} for sent in world.engine.bodies)
    assert rows[0].time_to_first_token_seconds is not None


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
    ],
)  # fmt: skip
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
    with socket.create_connection(("127.0.0.1", world.port), timeout=10) as client:
        client.sendall(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        client.sendall(b"800\r\n" + b"x" * 2048 + b"\r\n1\r\nx\r\n")
        assert client.recv(65_536).startswith(b"HTTP/1.1 413 ")


def test_headers_that_never_end_are_refused(world: World) -> None:
    with socket.create_connection(("127.0.0.1", world.port), timeout=10) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nx: " + b"a" * 70_000)
        assert client.recv(65_536).startswith(b"HTTP/1.1 431 ")


def test_pipelined_requests_are_answered_in_order_on_one_connection(world: World) -> None:
    with socket.create_connection(("127.0.0.1", world.port), timeout=10) as client:
        get = b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n"
        client.sendall(get % b"/healthz" + get % b"/none" + get % b"/sleep")
        client.sendall(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        received = b""
        while part := client.recv(65_536):
            received += part
    assert re.findall(rb"HTTP/1.1 (\d+) ", received) == [b"200", b"404", b"404", b"200"]


def test_an_engine_that_dies_in_a_stream_cuts_it_and_leaves_a_partial_row(world: World) -> None:
    world.engine.mode = "die_in_stream"
    with pytest.raises(http.client.IncompleteRead) as cut:
        world.ask(CHAT, {**BODY, "stream": True})
    assert b"[DONE]" not in cut.value.partial
    row = world.wait_for_row()
    assert (row.is_partial, row.answer, row.status_code) == (True, '{"intent":', 200)


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
def test_a_client_that_leaves_stops_the_engine_and_leaves_a_partial_row(world: World, is_stream: bool) -> None:
    world.engine.mode = "hang_in_stream" if is_stream else "slow"
    body = json.dumps({**BODY, "stream": is_stream}).encode()
    with socket.create_connection(("127.0.0.1", world.port), timeout=10) as client:
        head = f"POST {CHAT} HTTP/1.1\r\nauthorization: Bearer {KEY}\r\ncontent-length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        if is_stream:
            assert client.recv(100)
        else:
            time.sleep(0.1)
    assert world.engine.left.wait(0.8), "the engine still works"
    row = world.wait_for_row()
    assert (row.is_partial, row.status_code) == (True, 200 if is_stream else 499)
    assert world.routes.replicas(VERSION)[0].in_flight == 0


@pytest.mark.parametrize(("mode", "status"), [("refuse", 400), ("die", 503), ("slow", 504)])
def test_a_failed_answer_is_logged_with_its_status(world: World, mode: str, status: int) -> None:
    world.engine.mode = mode
    got, headers, _ = world.ask(CHAT, BODY)
    (row,) = world.rows()
    assert (got, row.status_code, row.id) == (status, status, headers["x-request-id"])
    assert row.error


def test_a_pooled_connection_that_went_stale_is_replaced(world: World) -> None:
    world.engine.mode = "close_after"
    assert [world.ask(CHAT, BODY)[0] for _ in range(20)] == [200] * 20


def test_no_ready_engine_is_503_with_retry_after(world: World) -> None:
    world.run(lambda: setattr(world.routes.replicas(VERSION)[0], "is_ready", False))
    status, headers, _ = world.ask(CHAT, BODY)
    assert (status, headers["retry-after"]) == (503, "2")


def test_an_answer_whose_row_cannot_be_written_is_withheld(world: World) -> None:
    with world.ledger.write() as connection:
        connection.exec_driver_sql("DROP TABLE req")
    status, _, body = world.ask(CHAT, BODY)
    assert (status, json.loads(body)["error"]["code"]) == (503, "log_unavailable")
    with pytest.raises(http.client.IncompleteRead) as cut:
        world.ask(CHAT, {**BODY, "stream": True})
    assert b"[DONE]" not in cut.value.partial
    assert b"driftwheel_log_failures_total 2.0" in world.ask("/metrics", method="GET")[2]


def test_text_that_no_database_takes_does_not_stop_the_log(world: World) -> None:
    odd = {**BODY, "messages": [{"role": "user", "content": "a\ud800\x00b"}], "user": "\udfff"}
    assert [world.ask(CHAT, odd)[0] for _ in range(2)] == [200, 200]
    assert world.rows()[0].prompt == "a\ufffd\ufffdb"


def test_feedback_finds_the_request_by_the_id_that_the_answer_carried(world: World) -> None:
    request_id = world.ask(CHAT, BODY)[1]["x-request-id"]
    status, _, _ = world.ask("/v1/feedback", {"request_id": request_id, "thumb": -1, "label": "loan"})
    (row,) = world.rows()
    assert (status, row.thumb, row.label, row.label_source) == (200, -1, "loan", "label")
    assert b'driftwheel_feedback_total{kind="thumb_down"} 1.0' in world.ask("/metrics", method="GET")[2]


def test_a_repeated_alert_asks_for_one_retrain(world: World) -> None:
    alert = {"status": "firing", "labels": {"action": "retrain"}, "fingerprint": "f1", "startsAt": "2026-11-21T00:00Z"}
    others = [{**alert, "status": "resolved"}, {**alert, "labels": {"action": "page"}}]
    for _ in range(2):
        assert world.ask("/v1/hooks/alertmanager", {"version": "4", "alerts": [alert, *others]})[0] == 200
    assert world.ask("/v1/hooks/alertmanager", {"alerts": [alert]}, key="")[0] == 401
    assert [d.trigger for d in world.ledger.find(RetrainDecision)] == ["webhook"]


def test_ready_means_a_recent_token_from_the_alias_engine(world: World) -> None:
    assert world.ask("/readyz", method="GET", key="")[0] == 503
    world.ask(CHAT, BODY)
    assert world.ask("/readyz", method="GET", key="")[0] == 200
    world.run(lambda: setattr(world.routes.replicas(VERSION)[0], "last_token_at", time.monotonic() - 1000))
    assert world.ask("/readyz", method="GET", key="")[0] == 503
    assert world.ask("/healthz", method="GET", key="")[0] == 200


def test_other_machines_are_not_served_without_a_key(settings: Settings, ledger: Ledger) -> None:
    log = TrafficLog(ledger)

    async def start() -> None:
        gateway = Gateway(settings, log, ledger, RoutingTable(), GatewayMetrics(), ApiKeys([]))
        await gateway.start("0.0.0.0", 0)

    with pytest.raises(ConfigError, match="DRIFTWHEEL_API_KEYS"):
        asyncio.run(start())
    log.close()
