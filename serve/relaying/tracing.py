"""Distributed tracing: OpenTelemetry spans of a client's request and of each engine that was asked.

A thread sends finished spans in batches; a collector that is dead or slow holds up no answer, because what it does not
take in time is dropped. Names are those of OpenTelemetry's conventions for generative AI
(github.com/open-telemetry/semantic-conventions-genai, still in development) and HTTP. OpenTelemetry is an extra and
takes a while to import, so it is imported where tracing begins, and its types only where types are checked.
"""

import json
import os
import re
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from driftwheel.errors import ConfigError
from driftwheel.records.nouns import Traffic
from driftwheel.settings.serving import TracingSettings
from driftwheel.traffic.outcomes import CLIENT_LEFT
from serve.http.messages import Request
from serve.relaying.job import TIMED_OUT, Job

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span
    from opentelemetry.util.types import Attributes, AttributeValue

SERVICE = "driftwheel-gateway"
PROVIDER = "vllm"
OPERATIONS = {"/v1/completions": "text_completion", "/v1/embeddings": "embeddings"}
"""By path; everything else is a chat."""
EXPORT_SECONDS, LAST_EXPORT_SECONDS = 3.0, 2.0
"""A dead collector may hold up the exporting thread, and at the end the process, for no longer."""
MAX_QUEUED, MAX_BATCH, BATCH_MILLISECONDS = 4096, 512, 1000
MAX_TEXT_CHARACTERS, MAX_ATTRIBUTE_CHARACTERS = 8192, 65_536
HEAD_BYTES = 4096
"""An answer's id is in its first bytes; a body is not searched to its end for it."""
CLIENT_ERROR, SERVER_ERROR = 400, 500
FAILURES = {CLIENT_LEFT: "client_left", TIMED_OUT: "timeout"}
_RESPONSE_ID = re.compile(rb'"id": ?"([^"\\]{1,128})"')


class Tracing:
    """Makes spans and sends them; the SDK's own variables (OTEL_EXPORTER_OTLP_HEADERS and so on) hold too."""

    def __init__(self, settings: TracingSettings) -> None:
        """Set up exporter and sampler; raises ConfigError where OpenTelemetry is not installed."""
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import SpanLimits, TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
            from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"serve.tracing.endpoint needs OpenTelemetry ({error}); `pip install -e '.[otel]'`, or unset it"
            ) from error
        self.has_content = settings.content
        self._exporter = OTLPSpanExporter(settings.endpoint, timeout=EXPORT_SECONDS)
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", SERVICE)}),
            sampler=ParentBased(TraceIdRatioBased(settings.share)),
            span_limits=SpanLimits(max_span_attribute_length=MAX_ATTRIBUTE_CHARACTERS),
            # `close` does it, with a bound on its time.
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
        self._propagator = TraceContextTextMapPropagator()
        self._server, self._client, self._error = SpanKind.SERVER, SpanKind.CLIENT, StatusCode.ERROR
        self.inside = set_span_in_context

    def begin(self, request: Request) -> "RequestTrace":
        """Begin the span of a client's request, below the one that its `traceparent` names."""
        return RequestTrace(self, request)

    def start_server(self, name: str, headers: Mapping[bytes, bytes], attributes: "Attributes") -> "Span":
        """Start the span of a request that came with these headers."""
        sent = {field: headers.get(field.encode(), b"").decode("latin-1") for field in self._propagator.fields}
        context = self._propagator.extract({field: value for field, value in sent.items() if value})
        return self._tracer.start_span(name, context=context, kind=self._server, attributes=attributes)

    def start_client(self, name: str, context: "Context", attributes: "Attributes") -> "Span":
        """Start the span of a request that is about to be sent."""
        return self._tracer.start_span(name, context=context, kind=self._client, attributes=attributes)

    def headers_of(self, span: "Span") -> dict[str, str]:
        """Return the headers that name a span to the engine."""
        headers: dict[str, str] = {}
        self._propagator.inject(headers, self.inside(span))
        return headers

    def mark_failed(self, span: "Span", failure: str) -> None:
        """Give a span the status of an error; without a text, because an engine's message may quote the user."""
        span.set_attribute("error.type", failure)
        span.set_status(self._error)

    def close(self) -> None:
        """Send what is left, but not for long; blocks."""
        # The SDK waits for its exporter without a bound; an exporter that was shut down gives up at once.
        give_up = threading.Timer(LAST_EXPORT_SECONDS, self._exporter.shutdown)
        give_up.start()
        self._provider.shutdown()
        give_up.cancel()


class RequestTrace:
    """The spans of one request."""

    def __init__(self, tracing: Tracing, request: Request) -> None:
        self._tracing = tracing
        self._server = tracing.start_server(
            f"{request.method} {request.path}",
            request.headers,
            {
                "http.request.method": request.method,
                "http.route": request.path,
                "url.path": request.path,
                "url.scheme": "http",
                "driftwheel.key.id": request.caller.id,
            },
        )
        self._context = tracing.inside(self._server)
        self._engine: Span
        self._failure: str | None = None

    def ask(self, job: Job) -> str:
        """Begin the span of an engine that is about to be asked, and return the header lines that name it there."""
        operation = OPERATIONS.get(job.path, "chat")
        self._failure = None
        self._engine = self._tracing.start_client(
            f"{operation} {job.call.model}",
            self._context,
            {
                "gen_ai.operation.name": operation,
                "gen_ai.provider.name": PROVIDER,
                "gen_ai.request.model": job.call.model,
                "gen_ai.request.stream": job.call.is_stream,
                "server.address": job.route.host,
                "server.port": job.route.port,
            },
        )
        headers = self._tracing.headers_of(self._engine)
        return "".join(f"{name}: {value}\r\n" for name, value in headers.items())

    def answered(self, row: Traffic, sent: list[bytes]) -> None:
        """End the span of the engine that was asked with what its row says."""
        span = self._engine
        if row.status_code >= CLIENT_ERROR:
            self._failure = FAILURES.get(row.error or "", str(row.status_code))
        elif row.is_partial:
            self._failure = FAILURES.get(row.error or "", "incomplete")
        if span.is_recording():
            span.set_attributes(_facts(row, sent) | (_content(row) if self._tracing.has_content else {}))
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
        # A client that left, or asked wrongly, is no error of this server.
        if status >= SERVER_ERROR and self._failure is None:
            self._failure = str(status)
        is_its_own = status >= SERVER_ERROR or self._failure in ("incomplete", "timeout")
        self._finish(self._server, is_error=is_its_own)

    def _finish(self, span: "Span", *, is_error: bool) -> None:
        if is_error and self._failure is not None:
            self._tracing.mark_failed(span, self._failure)
        span.end()


def _facts(row: Traffic, sent: list[bytes]) -> "dict[str, AttributeValue]":
    facts: dict[str, AttributeValue] = {
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


def _content(row: Traffic) -> "dict[str, AttributeValue]":
    question = {"role": "user", "parts": _parts(row.prompt)}
    answer = {"role": "assistant", "parts": _parts(row.answer), "finish_reason": row.finish_reason or ""}
    messages = {"gen_ai.input.messages": [question], "gen_ai.output.messages": [answer]}
    return {name: json.dumps(value, ensure_ascii=False) for name, value in messages.items()}


def _parts(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "content": text[:MAX_TEXT_CHARACTERS]}]
