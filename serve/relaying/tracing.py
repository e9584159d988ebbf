"""Requests become OpenTelemetry spans: one of the client's request, and one of each engine that was asked.

Imported only where `serve.tracing.endpoint` is set. A thread sends finished spans in batches; a collector that is dead
or slow holds up no answer, because what it does not take in time is dropped. Names are those of OpenTelemetry's
conventions for generative AI (github.com/open-telemetry/semantic-conventions-genai, still in development) and HTTP.
"""

import json
import os
import re
import threading
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from driftwheel.records import Traffic
from driftwheel.settings.serving import TracingSettings
from serve.http.messages import Request
from serve.relaying.job import CLIENT_LEFT, TIMED_OUT, Job

SERVICE = "driftwheel-gateway"
PROVIDER = "vllm"
OPERATIONS = {"/v1/completions": "text_completion", "/v1/embeddings": "embeddings"}
"""By path; everything else is a chat."""
EXPORT_SECONDS, LAST_EXPORT_SECONDS = 3.0, 2.0
MAX_QUEUED, MAX_BATCH, BATCH_MILLISECONDS = 4096, 512, 1000
MAX_TEXT_CHARACTERS, MAX_ATTRIBUTE_CHARACTERS = 8192, 65_536
HEAD_BYTES = 4096
CLIENT_ERROR, SERVER_ERROR = 400, 500
FAILURES = {CLIENT_LEFT: "client_left", TIMED_OUT: "timeout"}
_RESPONSE_ID = re.compile(rb'"id": ?"([^"\\]{1,128})"')
_PROPAGATOR = TraceContextTextMapPropagator()


class Tracing:
    """Makes spans and sends them; the SDK's own variables (OTEL_EXPORTER_OTLP_HEADERS and so on) hold too."""

    def __init__(self, settings: TracingSettings) -> None:
        self._has_content = settings.content
        self._exporter = OTLPSpanExporter(settings.endpoint, timeout=EXPORT_SECONDS)
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", SERVICE)}),
            sampler=ParentBased(TraceIdRatioBased(settings.share)),
            span_limits=SpanLimits(max_span_attribute_length=MAX_ATTRIBUTE_CHARACTERS),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                self._exporter,
                max_queue_size=MAX_QUEUED,
                max_export_batch_size=MAX_BATCH,
                schedule_delay_millis=BATCH_MILLISECONDS,
            )
        )
        self._tracer = self._provider.get_tracer("driftwheel")

    def begin(self, request: Request) -> "RequestTrace":
        """Begin the span of a client's request, below the one that its `traceparent` names."""
        return RequestTrace(self._tracer, request, has_content=self._has_content)

    def close(self) -> None:
        """Send what is left, but not for long; blocks."""
        give_up = threading.Timer(LAST_EXPORT_SECONDS, self._exporter.shutdown)
        give_up.start()
        self._provider.shutdown()
        give_up.cancel()


class RequestTrace:
    """The spans of one request."""

    def __init__(self, tracer: Tracer, request: Request, *, has_content: bool) -> None:
        self._tracer, self._has_content = tracer, has_content
        sent = {name: request.headers.get(name.encode(), b"").decode("latin-1") for name in _PROPAGATOR.fields}
        self._server = tracer.start_span(
            f"{request.method} {request.path}",
            context=_PROPAGATOR.extract({name: value for name, value in sent.items() if value}),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": request.method,
                "http.route": request.path,
                "url.path": request.path,
                "url.scheme": "http",
                "driftwheel.key.id": request.caller.id,
            },
        )
        self._context = set_span_in_context(self._server)
        self._engine: Span
        self._failure: str | None = None

    def ask(self, job: Job) -> str:
        """Begin the span of an engine that is about to be asked, and return the header lines that name it there."""
        operation = OPERATIONS.get(job.path, "chat")
        self._failure = None
        self._engine = self._tracer.start_span(
            f"{operation} {job.call.model}",
            context=self._context,
            kind=SpanKind.CLIENT,
            attributes={
                "gen_ai.operation.name": operation,
                "gen_ai.provider.name": PROVIDER,
                "gen_ai.request.model": job.call.model,
                "gen_ai.request.stream": job.call.is_stream,
                "server.address": job.route.host,
                "server.port": job.route.port,
            },
        )
        headers: dict[str, str] = {}
        _PROPAGATOR.inject(headers, set_span_in_context(self._engine))
        return "".join(f"{name}: {value}\r\n" for name, value in headers.items())

    def answered(self, row: Traffic, sent: list[bytes]) -> None:
        """End the span of the engine that was asked with what its row says."""
        span = self._engine
        if row.status_code >= CLIENT_ERROR:
            self._failure = FAILURES.get(row.error or "", str(row.status_code))
        elif row.is_partial:
            self._failure = FAILURES.get(row.error or "", "incomplete")
        if span.is_recording():
            span.set_attributes(_facts(row, sent) | (_content(row) if self._has_content else {}))
            if row.time_to_first_token_seconds is not None:
                span.set_attribute("gen_ai.response.time_to_first_chunk", row.time_to_first_token_seconds)
                at = row.created_at.timestamp() + row.time_to_first_token_seconds
                span.add_event("gen_ai.first_token", timestamp=round(at * 1e9))
        self._finish(span, is_error=self._failure is not None)

    def end(self, request_id: str, version_id: str, status: int) -> None:
        """End the span of the client's request."""
        self._server.set_attributes(
            {
                "http.response.status_code": status,
                "driftwheel.request.id": request_id,
                "driftwheel.version.id": version_id,
            }
        )
        if status >= SERVER_ERROR and self._failure is None:
            self._failure = str(status)
        is_its_own = status >= SERVER_ERROR or self._failure in ("incomplete", "timeout")
        self._finish(self._server, is_error=is_its_own)

    def _finish(self, span: Span, *, is_error: bool) -> None:
        if is_error and self._failure is not None:
            span.set_attribute("error.type", self._failure)
            span.set_status(StatusCode.ERROR)  # without a text: an engine's message may quote the user
        span.end()


def _facts(row: Traffic, sent: list[bytes]) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "http.response.status_code": row.status_code,
        "gen_ai.response.model": row.version_id,
        "gen_ai.usage.input_tokens": row.prompt_tokens,
        "gen_ai.usage.output_tokens": row.completion_tokens,
        "driftwheel.request.id": row.id,
    }
    if row.finish_reason is not None:
        facts["gen_ai.response.finish_reasons"] = [row.finish_reason]
    response_id = _RESPONSE_ID.search(sent[0][:HEAD_BYTES]) if sent else None
    if response_id is not None:
        facts["gen_ai.response.id"] = response_id.group(1).decode("utf-8", "replace")
    return facts


def _content(row: Traffic) -> dict[str, Any]:
    question = {"role": "user", "parts": _parts(row.prompt)}
    answer = {"role": "assistant", "parts": _parts(row.answer), "finish_reason": row.finish_reason or ""}
    messages = {"gen_ai.input.messages": [question], "gen_ai.output.messages": [answer]}
    return {name: json.dumps(value, ensure_ascii=False) for name, value in messages.items()}


def _parts(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "content": text[:MAX_TEXT_CHARACTERS]}]
