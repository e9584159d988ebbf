"""The relay: sends a request to its engine and the answer to the client, and writes a durable Traffic row.

No answer is complete before its row is on disk: a whole answer waits for it, a stream's last event is held for it.
A client that leaves stops the engine's work, and what was answered until then is a row marked partial. Only with
`serve.log: best_effort` does an answer not wait, and is given although its row could not be written.
"""

import asyncio
import time
from weakref import WeakKeyDictionary

import structlog

from driftwheel.errors import EngineError, StorageError
from driftwheel.records.nouns import Traffic
from driftwheel.settings.serving import ServeSettings
from driftwheel.store.row_values import storable
from driftwheel.traffic.log import TrafficLog
from driftwheel.traffic.outcomes import CLIENT_CLOSED_REQUEST, CLIENT_LEFT
from serve.http.messages import Response
from serve.metrics import GatewayMetrics
from serve.refusals import RequestRefused
from serve.relaying.call import Call
from serve.relaying.capture import AnswerCapture, StreamCapture
from serve.relaying.durable import DurableRows
from serve.relaying.job import TIMED_OUT, Job
from serve.relaying.upstream import Exchange, UpstreamPool
from serve.relaying.usage_filter import UsageFilter
from serve.routing.table import EngineRoute

NOT_ENDED = "the engine's stream ended without [DONE]"
RETRY_AFTER_SECONDS = 2
NOT_DURABLE = RequestRefused(
    503,
    "the answer could not be logged, so it is not given; check the disk and the ledger, then try again",
    "log_unavailable",
    headers=(("retry-after", str(RETRY_AFTER_SECONDS)),),
)
log = structlog.get_logger()


class Failover(EngineError):
    """An engine failed before the client got a byte, and another one can answer."""

    def __init__(self, route: EngineRoute, message: str) -> None:
        super().__init__(message)
        self.route = route


class Relay:
    """Passes requests to engines and writes down what they answered."""

    def __init__(self, serve: ServeSettings, project: str, traffic_log: TrafficLog, metrics: GatewayMetrics) -> None:
        self._serve, self._project = serve, project
        self._log = traffic_log
        self._rows = DurableRows(traffic_log)
        self._metrics = metrics
        self._pools: WeakKeyDictionary[EngineRoute, UpstreamPool] = WeakKeyDictionary()

    async def answer(self, job: Job, response: Response) -> int:
        """Answer a request and return the status; raises RequestRefused if the client must get an error instead."""
        if job.trace is not None:
            job.trace_headers = job.trace.ask(job)
        exchange = Exchange(
            self._pool(job.route),
            _request_bytes(job, job.call),
            (lambda: _request_bytes(job, job.call.as_it_came())) if job.call.is_added_to else None,
        )
        response.on_client_left = lambda: exchange.abort(CLIENT_LEFT)
        timeout_seconds = self._serve.request_timeout_seconds
        timer = asyncio.get_running_loop().call_later(timeout_seconds, exchange.abort, TIMED_OUT)
        job.route.in_flight += 1
        try:
            # The client may have left before the callback was set; nobody would abort the exchange then.
            if response.is_gone:
                exchange.abort(CLIENT_LEFT)
            await exchange.start()
            if job.second is not None and exchange.status >= 500:
                raise EngineError(f"the engine answered {exchange.status}")
            content_type = exchange.headers.get(b"content-type", b"application/json").decode("latin-1")
            if content_type.startswith("text/event-stream"):
                return await self._stream(job, exchange, response, content_type)
            return await self._whole(job, exchange, response, content_type)
        except EngineError as error:
            refusal = await self._broken(job, exchange, str(error))
            if job.second is not None and refusal.status == 503 and not response.has_started:
                raise Failover(job.second, str(error)) from error
            raise refusal from error
        finally:
            timer.cancel()
            response.on_client_left = None
            job.route.in_flight -= 1
            exchange.release()

    def close(self) -> None:
        """Close the idle connections to every engine."""
        for pool in self._pools.values():
            pool.close()

    def _pool(self, route: EngineRoute) -> UpstreamPool:
        pool = self._pools.get(route)
        if pool is None:
            pool = self._pools[route] = UpstreamPool(route.host, route.port)
        return pool

    async def _whole(self, job: Job, exchange: Exchange, response: Response, content_type: str) -> int:
        chunks = []
        while data := await exchange.read():
            chunks.append(data)
        body = b"".join(chunks)
        capture = AnswerCapture()
        capture.read_json(body)
        job.sent.append(body)
        row = self._row(job, capture, exchange.status)
        if not await self._may_end(row):
            raise NOT_DURABLE
        if response.is_gone:
            await self._mark_left(row)
        headers = job.headers(content_type)
        if b"retry-after" in exchange.headers:
            headers.append(("retry-after", exchange.headers[b"retry-after"].decode("latin-1")))
        response.send(exchange.status, headers, body)
        return exchange.status

    async def _stream(self, job: Job, exchange: Exchange, response: Response, content_type: str) -> int:
        job.is_stream = True
        usage_filter = UsageFilter(job.route.system_fingerprint) if job.call.usage_option is not None else None
        capture = StreamCapture(usage_filter)
        response.start(exchange.status, [*job.headers(content_type), ("cache-control", "no-cache")])
        error = await self._pass_events(job, exchange, response, capture)
        if not capture.is_done and error is None:
            error = NOT_ENDED
        is_whole = capture.is_done and not response.is_gone
        if usage_filter is not None and usage_filter.fingerprint is not None:
            job.route.system_fingerprint = usage_filter.fingerprint
        capture.error = capture.error or (None if is_whole else error or CLIENT_LEFT)
        job.sent.append(capture.held() if is_whole else b"")
        row = self._row(job, capture, exchange.status, is_partial=not is_whole or capture.error is not None)
        if not await self._may_end(row) or not is_whole:
            response.cut()
        elif response.is_gone:
            await self._mark_left(row)
        else:
            response.write(job.sent[-1])
            response.finish()
        return exchange.status

    async def _pass_events(
        self, job: Job, exchange: Exchange, response: Response, capture: StreamCapture
    ) -> str | None:
        try:
            while data := await exchange.read():
                if response.is_gone:
                    return CLIENT_LEFT
                passed = capture.feed(data)
                if passed:
                    job.sent.append(passed)
                    job.route.last_token_at = time.monotonic()
                    job.first_token_at = job.first_token_at or time.perf_counter()
                response.write(passed)
                await response.drain()
        except EngineError as error:
            return str(error)
        return None

    async def _broken(self, job: Job, exchange: Exchange, message: str) -> RequestRefused:
        statuses = {CLIENT_LEFT: CLIENT_CLOSED_REQUEST, TIMED_OUT: 504}
        reason = exchange.abort_reason or message
        status = statuses.get(reason, 503)
        capture = AnswerCapture()
        capture.error = reason
        job.sent.clear()
        if not await self._may_end(self._row(job, capture, status, is_partial=True)):
            return NOT_DURABLE
        headers = (("retry-after", str(RETRY_AFTER_SECONDS)),) if status == 503 else ()
        return RequestRefused(status, f"{job.route.version_id}: {reason}", "engine_failed", headers=headers)

    async def _may_end(self, row: Traffic) -> bool:
        """Write the row; return whether the answer may be ended: it is durable, or need not be."""
        written = self._rows.append(row)  # before the metrics, so that the writer thread starts meanwhile
        self._metrics.count_answer(row)
        if self._serve.log == "best_effort":
            written.add_done_callback(lambda future: self._count_unlogged(row.id, future.result()))
            return True
        error = await written
        if error is not None:
            self._metrics.log_failures.inc()
            log.error("a row was not written, so its answer is withheld", request_id=row.id, error=str(error))
        return error is None

    def _count_unlogged(self, request_id: str, error: Exception | None) -> None:
        if error is not None:
            self._metrics.unlogged.inc()
            log.error("an answer was given without its row", request_id=request_id, error=str(error))

    async def _mark_left(self, row: Traffic) -> None:
        """Make a row partial whose client left while it was written."""
        try:
            await asyncio.to_thread(self._log.mark_partial, row.id, CLIENT_LEFT)
        except StorageError as error:
            log.error("a row was not marked partial", request_id=row.id, error=str(error))

    def _row(self, job: Job, capture: AnswerCapture, status: int, *, is_partial: bool = False) -> Traffic:
        answer = capture.logged
        if capture.completion_tokens or answer:
            job.route.last_token_at = time.monotonic()
        job.used_tokens = capture.used_tokens(job.call.text)
        first = job.first_token_at
        row = Traffic(
            id=job.request_id,
            project=self._project,
            created_at=job.created_at,
            alias=job.alias,
            version_id=job.route.version_id,
            route=job.path,
            status_code=status,
            is_stream=job.is_stream,
            is_partial=is_partial,
            prompt=job.call.prompt,
            request=job.call.text,
            answer=answer,
            finish_reason=capture.finish_reason,
            prompt_tokens=capture.prompt_tokens,
            completion_tokens=capture.completion_tokens,
            mean_logprob=capture.mean_logprob,
            latency_seconds=time.perf_counter() - job.started_at,
            time_to_first_token_seconds=None if first is None else first - job.started_at,
            key_id=job.caller.id,
            user_id=job.call.user_id,
            conversation_id=job.call.conversation_id,
            error=capture.error,
            response=storable(b"".join(job.sent).decode("utf-8", "replace")) if job.sent else None,
        )
        if job.trace is not None:
            job.trace.answered(row, job.sent)
        return row


def _request_bytes(job: Job, call: Call) -> bytes:
    body = call.body_for(job.route.model, job.request_id)
    head = (
        f"POST {job.path} HTTP/1.1\r\nhost: {job.route.host}:{job.route.port}\r\ncontent-type: application/json\r\n"
        f"x-request-id: {job.request_id}\r\n{job.trace_headers}content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
