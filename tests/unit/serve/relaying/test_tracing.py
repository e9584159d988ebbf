"""Requests become spans that a real OTLP/HTTP receiver reads; a dead receiver costs no answer anything."""

import asyncio
import http.server
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from driftwheel.errors import ConfigError
from driftwheel.settings.serving import TracingSettings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.log import TrafficLog
from serve import server
from serve.access.key_ring import ApiKeys
from serve.gateway import Gateway
from serve.metrics import GatewayMetrics
from serve.relaying.tracing import EXPORT_SECONDS, Tracing
from serve.routing.table import EngineRoute, RoutingTable
from tests.support.fake_engine import USAGE, FakeEngine, answer_to

KEY = "a-key-for-the-tests-of-tracing"
VERSION = "version_1"
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACE_HEADERS = {"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "vendor=t61rcWkgMzE"}
PROMPT = "where is my card"
BODY = {"model": "support", "messages": [{"role": "user", "content": PROMPT}]}


class Receiver(http.server.BaseHTTPRequestHandler):
    """Reads one export."""

    server: "Collector"

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        self.server.take(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


class Collector(http.server.ThreadingHTTPServer):
    """An OTLP/HTTP receiver of traces."""

    daemon_threads = True

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.service = ""
        super().__init__(("127.0.0.1", 0), Receiver)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1/traces"

    def take(self, body: bytes) -> None:
        for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.service = facts(of_resource.resource.attributes)["service.name"]
            for of_scope in of_resource.scope_spans:
                self.spans += of_scope.spans

    def pair(self) -> tuple[Span, Span]:
        """Return the only request's spans: the client's, and the engine's."""
        (server,) = [span for span in self.spans if span.kind == Span.SPAN_KIND_SERVER]
        (engine,) = [span for span in self.spans if span.kind == Span.SPAN_KIND_CLIENT]
        return server, engine


def facts(attributes: Any) -> dict[str, Any]:
    return {attribute.key: plain(attribute.value) for attribute in attributes}


def plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return [plain(v) for v in value.array_value.values] if kind == "array_value" else getattr(value, str(kind))


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


Ask = Callable[..., Any]


@pytest.fixture
def ask(settings: Settings, ledger: Ledger) -> Ask:
    """Ask a gateway with or without spans; return statuses, seconds for each answer, and the engine's newest head."""

    def run(
        tracing: TracingSettings, body: Any = BODY, headers: Any = (), times: int = 1, **engine_facts: Any
    ) -> tuple[list[int], list[float], str]:
        async def scene() -> tuple[list[int], list[float], str]:
            engine, routes, log = FakeEngine(VERSION, engine_facts), RoutingTable(), TrafficLog(ledger)
            upstream = await engine.listen(0)
            port = upstream.sockets[0].getsockname()[1]
            routes.add(EngineRoute(VERSION, "127.0.0.1", port, VERSION))
            routes.point("support", VERSION)
            gateway = Gateway(settings, log, ledger, routes, GatewayMetrics(), ApiKeys([KEY]))
            gateway.tracing = Tracing(tracing) if tracing.endpoint else None
            server = await gateway.start("127.0.0.1", 0)
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/chat/completions"
            statuses, seconds = [], []
            async with aiohttp.ClientSession(headers={"authorization": f"Bearer {KEY}", **dict(headers)}) as session:
                for _ in range(times):
                    began_at = time.perf_counter()
                    async with session.post(url, json=body) as response:
                        await response.read()
                        statuses.append(response.status)
                    seconds.append(time.perf_counter() - began_at)
            await gateway.stop(1)
            upstream.close()
            if gateway.tracing is not None:
                await asyncio.to_thread(gateway.tracing.close)
            log.close()
            return statuses, seconds, engine.last_head.decode()

        return asyncio.run(scene())

    return run


def test_a_request_is_two_spans_below_the_callers_and_the_engine_gets_the_second(
    ask: Ask, collector: Collector
) -> None:
    statuses, _, head = ask(TracingSettings(endpoint=collector.url), headers=TRACE_HEADERS)
    assert statuses == [200]
    server, engine = collector.pair()
    assert server.trace_id.hex() == engine.trace_id.hex() == TRACE
    assert server.parent_span_id.hex() == CALLER
    assert engine.parent_span_id == server.span_id
    assert f"traceparent: 00-{TRACE}-{engine.span_id.hex()}-01\r\n" in head
    assert "tracestate: vendor=t61rcWkgMzE\r\n" in head
    assert collector.service == "driftwheel-gateway"


def test_the_spans_say_who_answered_and_what_it_cost_but_not_what_was_said(ask: Ask, collector: Collector) -> None:
    ask(TracingSettings(endpoint=collector.url))
    server, engine = collector.pair()
    assert server.name == "POST /v1/chat/completions"
    said = facts(server.attributes)
    assert (said["http.response.status_code"], said["driftwheel.version.id"]) == (200, VERSION)
    assert engine.name == "chat support"
    said = facts(engine.attributes)
    assert said["driftwheel.request.id"].startswith("req_")
    assert said.pop("server.port") > 0
    del said["driftwheel.request.id"]
    assert said == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": "support",
        "gen_ai.request.stream": False,
        "server.address": "127.0.0.1",
        "http.response.status_code": 200,
        "gen_ai.response.model": VERSION,
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": USAGE["prompt_tokens"],
        "gen_ai.usage.output_tokens": USAGE["completion_tokens"],
    }
    assert PROMPT not in str(collector.spans)
    assert answer_to(PROMPT, VERSION)[:30] not in str(collector.spans)


def test_a_streams_first_token_is_an_event_between_the_spans_ends(ask: Ask, collector: Collector) -> None:
    ask(TracingSettings(endpoint=collector.url), {**BODY, "stream": True})
    _, engine = collector.pair()
    assert [event.name for event in engine.events] == ["gen_ai.first_token"]
    assert engine.start_time_unix_nano - 1e7 < engine.events[0].time_unix_nano <= engine.end_time_unix_nano
    said = facts(engine.attributes)
    assert said["gen_ai.response.time_to_first_chunk"] > 0
    assert (said["gen_ai.response.id"], said["gen_ai.usage.output_tokens"]) == ("chatcmpl-1", 8)


def test_content_is_sent_only_when_asked_for(ask: Ask, collector: Collector) -> None:
    ask(TracingSettings(endpoint=collector.url, content=True))
    said = facts(collector.pair()[1].attributes)
    (question,), (answer,) = (json.loads(said[f"gen_ai.{side}.messages"]) for side in ("input", "output"))
    assert question == {"role": "user", "parts": [{"type": "text", "content": PROMPT}]}
    assert answer["parts"][0]["content"] == answer_to(PROMPT, VERSION)


def test_a_failed_answer_is_an_error_of_both_spans(ask: Ask, collector: Collector) -> None:
    statuses, _, _ = ask(TracingSettings(endpoint=collector.url), fails_share=1.0)
    assert statuses == [500]
    for span in collector.pair():
        assert span.status.code == Status.STATUS_CODE_ERROR
        assert facts(span.attributes)["error.type"] == "500"


def test_a_body_that_is_refused_has_a_span_of_its_own_and_none_of_an_engine(ask: Ask, collector: Collector) -> None:
    statuses, _, _ = ask(TracingSettings(endpoint=collector.url), [1])
    assert statuses == [400]
    assert [span.kind for span in collector.spans] == [Span.SPAN_KIND_SERVER]


def test_a_share_of_nothing_sends_nothing_unless_the_caller_asks(ask: Ask, collector: Collector) -> None:
    ask(TracingSettings(endpoint=collector.url, share=0))
    assert collector.spans == []
    ask(TracingSettings(endpoint=collector.url, share=0), headers=TRACE_HEADERS)
    assert len(collector.spans) == 2


def test_without_spans_the_trace_passes_untouched(ask: Ask) -> None:
    _, _, head = ask(TracingSettings(), headers=TRACE_HEADERS)
    for name, value in TRACE_HEADERS.items():
        assert f"{name}: {value}\r\n" in head
    _, _, head = ask(TracingSettings(), headers={"tracestate": "of=nothing"})
    assert "tracestate" not in head


def test_a_collector_that_never_answers_holds_up_no_answer_and_no_end(ask: Ask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        endpoint = f"http://127.0.0.1:{deaf.getsockname()[1]}/v1/traces"
        began_at = time.monotonic()
        statuses, seconds, _ = ask(TracingSettings(endpoint=endpoint), times=600)
    assert statuses == [200] * 600
    assert max(seconds) < EXPORT_SECONDS, "who waits for an export waits for this long"
    assert time.monotonic() - began_at < sum(seconds) + 20, "an export, the last one, and what a busy machine adds"


def test_nothing_of_opentelemetry_is_imported_without_an_endpoint() -> None:
    code = "import sys, serve.server; sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_missing_extra_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    tracing = TracingSettings(endpoint="http://127.0.0.1:4318/v1/traces")
    serve = settings.serve.model_copy(update={"tracing": tracing})
    with pytest.raises(ConfigError, match="otel"):
        server.tracing_of(serve)


def test_content_and_redaction_are_refused_together(settings: Settings) -> None:
    raw = settings.model_dump()
    raw["serve"]["tracing"]["content"], raw["traffic"]["redact"] = True, ["email"]
    with pytest.raises(ValueError, match=r"traffic\.redact"):
        Settings(**raw)
