"""An HTTP/1.1 server protocol: takes requests from a connection, and writes a handler's answers to it.

HTTP/1.1 on asyncio.Protocol and httptools: keep-alive, pipelining in order, chunked both ways. What a client may send
is bounded in `request_parser.py`; here is how long it may take: `sweep` ends whatever is too slow.
"""

import asyncio
import ipaddress
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import cast

import httptools
import structlog

from serve.access.backpressure import Backpressure
from serve.http.messages import Request, Response
from serve.http.request_parser import MAX_HEADER_BYTES, NEVER, Admit, RequestParser
from serve.refusals import RequestRefused

SWEEP_SECONDS = 0.5
"""One sweep over all connections is cheaper than timers that each request starts and cancels."""
LINGER_SECONDS = 2.0
"""How long a client that was refused may read why; then its place is free again."""
log = structlog.get_logger()


Handler = Callable[[Request, Response], Awaitable[None]]


class ServerConnection(RequestParser):
    """A client's connection; answers go out in the order of the requests."""

    __slots__ = (
        "_connections",
        "_drained",
        "_handler",
        "_response",
        "_task",
        "_transport",
        "_unread_since",
        "is_closed",
        "is_closing",
    )

    def __init__(
        self, handler: Handler, admit: Admit, backpressure: Backpressure, connections: "set[ServerConnection]"
    ) -> None:
        super().__init__(admit, backpressure)
        self._handler, self._connections = handler, connections
        self._transport: asyncio.Transport
        self._task: asyncio.Task[None] | None = None
        self._response: Response | None = None
        self._unread_since = NEVER
        self._drained: asyncio.Future[None] | None = None
        self.is_closed = False
        self.is_closing = False

    @property
    def is_answering(self) -> bool:
        return self._task is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop has its own class
        # Closed without a word: an answer would cost what the bound is to save.
        if len(self._connections) >= self._backpressure.max_connections and not self._backpressure.end_one_lingering():
            self._is_deaf = True
            self.abort()
            return
        # `drain` then waits until the system has every byte, so that no row calls a stream whole that never left.
        self._transport.set_write_buffer_limits(0)
        peer = transport.get_extra_info("peername")
        self._is_local = bool(peer) and ipaddress.ip_address(peer[0]).is_loopback
        self._connections.add(self)
        self._deadline = self._loop.time() + self._backpressure.deadlines.headers_seconds

    def connection_lost(self, error: Exception | None) -> None:
        self.is_closed = True
        self._connections.discard(self)
        self._backpressure.lingering.pop(self, None)
        self._backpressure.give_back(self._request)
        for request in self._queue:
            self._backpressure.give_back(request)
        self._queue.clear()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if self._response is not None and self._response.on_client_left is not None:
            self._response.on_client_left()

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        had_bytes = self._body_bytes
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            self._refuse(RequestRefused(400, f"this is not an HTTP/1.1 request: {error}", "bad_http"))
        # What comes in a chunked body and is none of it may be a trailer, which the parser holds as it holds headers.
        if self._state == "headers" or (self._state == "body" and self._body_bytes == had_bytes):
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self._refuse_headers()
        self._start_next()

    def pause_writing(self) -> None:
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None
        if not self.is_closed:
            self._start_next()

    def write(self, data: bytes) -> None:
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
        """Wait until the write buffer is small again, or the client is gone."""
        if self._drained is not None and not self.is_closed:
            await self._drained

    def sweep(self, now: float) -> None:
        """End the connection if its client is too slow, at a time of the event loop."""
        if self._transport.get_write_buffer_size() == 0:
            self._unread_since = NEVER
        elif self._unread_since == NEVER:
            self._unread_since = now
        elif now - self._unread_since >= self._backpressure.deadlines.unread_seconds:
            self._reset()
            return
        is_held_back = self._task is not None and self._queue
        if now >= self._deadline and not is_held_back:
            self._deadline = NEVER
            self._too_late()

    def _reset(self) -> None:
        # Without this the system would keep the unread bytes for as long as the client likes.
        lingers_not = struct.pack("ii", 1, 0)
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, lingers_not)
        self.abort()

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
        if self._drained is not None:
            self._transport.pause_reading()
            return
        request = self._queue.pop(0)  # at most MAX_PIPELINED long, so a list is as fast as a deque
        if self.is_closing:
            request.is_keep_alive = False
        self._response = Response(self, request)
        self._task = self._loop.create_task(self._answer(request, self._response))
        # Not at the end of `_answer`: a callback also runs for a task that was cancelled before its first step.
        self._task.add_done_callback(lambda task: self._answered(task, request))

    async def _answer(self, request: Request, response: Response) -> None:
        await self._handler(request, response)

    def _answered(self, task: "asyncio.Task[None]", request: Request) -> None:
        response, self._response, self._task = self._response, None, None
        self._backpressure.give_back(request)
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
            self._deadline = self._loop.time() + self._backpressure.deadlines.keep_alive_seconds

    def _linger(self, request: Request) -> None:
        # Closing a socket that still has unread bytes resets it, and the client would never read the refusal.
        self._is_deaf = True
        if request.refusal is None or not self._transport.can_write_eof() or self._transport.is_closing():
            self.close()
            return
        self._transport.pause_reading()  # what he still sends is nobody's work
        self._transport.write_eof()
        self._backpressure.lingering[self] = self._give_up
        self._loop.call_later(LINGER_SECONDS, self.abort)

    def _give_up(self) -> None:
        self._connections.discard(self)
        self.abort()
