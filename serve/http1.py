"""Bytes of a client's connection become requests, and a handler's answers become bytes.

HTTP/1.1 on asyncio.Protocol and httptools: keep-alive, pipelining in order, chunked both ways, bounded headers
and bodies, deadlines for slow senders. What cannot be a request reaches the handler as a request with a refusal.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import cast

import httptools
import structlog

from serve.messages import Request, Response
from serve.refusals import RequestRefused

HEADERS_SECONDS = 10.0
BODY_IDLE_SECONDS = 30.0
KEEP_ALIVE_SECONDS = 75.0
SLOW_CLIENT_SECONDS = 60.0
LINGER_SECONDS = 2.0
MAX_HEADER_BYTES = 65_536

log = structlog.get_logger()


Handler = Callable[[Request, Response], Awaitable[None]]


class ServerConnection(asyncio.Protocol):
    """A client's connection; answers go out in the order of the requests."""

    def __init__(self, handler: Handler, max_body_bytes: int, connections: "set[ServerConnection]") -> None:
        self._handler = handler
        self._max_body_bytes = max_body_bytes
        self._connections = connections
        self._parser = httptools.HttpRequestParser(self)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._queue: deque[Request] = deque()
        self._task: asyncio.Task[None] | None = None
        self._response: Response | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._drained: asyncio.Future[None] | None = None
        self._state = "idle"
        self._request = Request()
        self._chunks: list[bytes] = []
        self._header_bytes = self._body_bytes = 0
        self._is_deaf = False
        self.is_closed = False
        self.is_closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:

        self._transport = cast(asyncio.Transport, transport)  # uvloop has its own class
        # `drain` then waits until the system has every byte, so that no row calls a stream whole that never left.
        self._transport.set_write_buffer_limits(0)
        self._connections.add(self)
        self._arm(HEADERS_SECONDS)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_closed = True
        self._connections.discard(self)
        self._arm(None)
        self._queue.clear()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if self._response is not None and self._response.on_client_left is not None:
            self._response.on_client_left()

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        before = self._state
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._is_deaf = True
            for request in self._queue:
                request.is_keep_alive = False
        except httptools.HttpParserError as error:
            self._refuse(RequestRefused(400, f"this is not an HTTP/1.1 request: {error}", "bad_http"))
        if self._state == "headers":
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self._refuse_headers()
        self._set_deadline(before)
        self._start_next()

    def on_message_begin(self) -> None:
        self._state, self._request = "headers", Request()
        self._chunks, self._header_bytes, self._body_bytes = [], 0, 0

    def on_url(self, url: bytes) -> None:
        self._request.path += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        self._request.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        request = self._request
        self._state = "body"
        request.method = self._parser.get_method().decode()
        request.path = request.path.partition("?")[0]
        request.is_http11 = self._parser.get_http_version() == "1.1"
        request.is_keep_alive = self._parser.should_keep_alive()
        length = request.headers.get(b"content-length", b"")
        if self._header_bytes > MAX_HEADER_BYTES:
            self._refuse_headers()
        elif length.isdigit() and int(length) > self._max_body_bytes:
            self._refuse_body()
        elif request.headers.get(b"expect", b"").lower() == b"100-continue" and self._task is None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._is_deaf:
            return
        if self._body_bytes > self._max_body_bytes:
            self._refuse_body()
        else:
            self._chunks.append(body)

    def on_message_complete(self) -> None:
        self._state = "idle"
        if not self._is_deaf:
            self._request.body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
            self._queue.append(self._request)

    def pause_writing(self) -> None:
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    def write(self, data: bytes) -> None:
        """Write to the client, if there still is one."""
        if not self.is_closed:
            self._transport.write(data)

    def close(self) -> None:
        """Close after what was written; now if no request is being answered."""
        self._queue.clear()
        self._transport.close()

    def abort(self) -> None:
        """Close and drop what was not sent."""
        self._transport.abort()

    def close_when_idle(self) -> None:
        """Answer what has arrived, then close."""
        self.is_closing = True
        if self._task is None:
            self.close()

    async def drain(self) -> None:
        """Wait until the write buffer is small again."""
        if self._drained is not None and not self.is_closed:
            done, _ = await asyncio.wait([self._drained], timeout=SLOW_CLIENT_SECONDS)
            if not done:
                self.abort()

    def _refuse_headers(self) -> None:
        self._refuse(RequestRefused(431, f"headers are over {MAX_HEADER_BYTES} bytes", "headers_too_large"))

    def _refuse_body(self) -> None:
        message = f"the body is over {self._max_body_bytes} bytes (serve.max_body_bytes); send less"
        self._refuse(RequestRefused(413, message, "body_too_large"))

    def _refuse(self, refusal: RequestRefused) -> None:
        if self._is_deaf:
            return
        self._is_deaf = True
        self._chunks = []
        self._request.refusal, self._request.is_keep_alive = refusal, False
        self._queue.append(self._request)

    def _set_deadline(self, before: str) -> None:
        if self._is_deaf or self._state == "idle":
            self._arm(None)
        elif self._state == "body":
            self._arm(BODY_IDLE_SECONDS)
        elif before != "headers":
            self._arm(HEADERS_SECONDS)

    def _arm(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self._loop.call_later(seconds, self._too_late)

    def _too_late(self) -> None:
        if self._state == "idle" or self._task is not None:
            self.close()
        else:
            self._refuse(RequestRefused(408, "the request did not arrive in time", "request_timeout"))
            self._start_next()

    def _start_next(self) -> None:
        if self._task is not None:
            if self._queue and not self._is_deaf:
                self._transport.pause_reading()
            return
        if not self._queue:
            return
        request = self._queue.popleft()
        if self.is_closing:
            request.is_keep_alive = False
        self._response = Response(self, request)
        self._task = self._loop.create_task(self._answer(request, self._response))
        self._task.add_done_callback(lambda task: self._answered(task, request))

    async def _answer(self, request: Request, response: Response) -> None:
        await self._handler(request, response)

    def _answered(self, task: "asyncio.Task[None]", request: Request) -> None:
        response, self._response, self._task = self._response, None, None
        if task.cancelled() or (error := task.exception()) is not None:
            if not task.cancelled():
                log.error("a request met a bug", path=request.path, exc_info=error)
            request.is_keep_alive = False
            if response is not None and not response.has_started:
                bug = RequestRefused(500, "the gateway met a bug; its log has the traceback", "internal_error")
                response.send(500, [("content-type", "application/json")], bug.body())
        if self.is_closed:
            return
        if not request.is_keep_alive or self.is_closing:
            self._linger(request)
            return
        self._transport.resume_reading()
        self._start_next()
        if self._task is None and self._state == "idle":
            self._arm(KEEP_ALIVE_SECONDS)

    def _linger(self, request: Request) -> None:
        # Closing a socket that still has unread bytes resets it, and the client would never read the refusal.
        self._is_deaf = True
        if request.refusal is None or not self._transport.can_write_eof() or self._transport.is_closing():
            self.close()
            return
        self._transport.write_eof()
        self._loop.call_later(LINGER_SECONDS, self.abort)
