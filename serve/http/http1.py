"""An HTTP/1.1 server protocol: parses requests from a connection, and writes a handler's answers.

HTTP/1.1 on asyncio.Protocol and httptools: keep-alive, pipelining in order, chunked both ways. Headers, bodies and
waiting answers are bounded in bytes and in time; `sweep` ends whatever is too slow. Whether a request may go on is
asked as soon as its head is there. What cannot be a request reaches the handler as a request with a refusal. An offer
to speak another protocol is ignored, as servers may; JDK's HttpClient makes one with each first request.
"""

import asyncio
import ipaddress
import math
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import cast

import httptools
import structlog

from serve.access.backpressure import TOO_MANY_BYTES, Backpressure
from serve.http.messages import Request, Response
from serve.http.request_head import path_of, without_upgrade
from serve.refusals import RequestRefused

SWEEP_SECONDS = 0.5
"""One sweep over all connections is cheaper than timers that each request starts and cancels."""
LINGER_SECONDS = 2.0
"""How long a client that was refused may read why; then its place is free again."""
MAX_HEADER_BYTES, MAX_HEADERS = 65_536, 100
MAX_PIPELINED = 32
"""Requests of one connection that wait for the answers before theirs; each may hold a body."""
VERSIONS = ("1.1", "1.0")
BODILESS = ("GET", "HEAD", "OPTIONS")
"""Methods whose bodies mean nothing (RFC 9110, section 9.3). Probes and preflights come without a key, so that anybody
could fill the gateway's memory with what nobody would read."""
NEVER = math.inf
ONCE = (
    b"authorization",
    b"host",
    b"content-type",
    b"content-encoding",
    b"transfer-encoding",
    b"content-length",
    b"x-driftwheel-watch",
)
"""Headers that mean two things to two readers when they come twice."""

log = structlog.get_logger()


Handler = Callable[[Request, Response], Awaitable[None]]
Admit = Callable[[Request], None]


class ServerConnection(asyncio.Protocol):
    """A client's connection; answers go out in the order of the requests."""

    # Strangers open thousands of them, and each is to take little: no dict, and a list where a deque takes 600 bytes.
    __slots__ = (
        "_admit",
        "_backpressure",
        "_body_bytes",
        "_chunks",
        "_connections",
        "_deadline",
        "_drained",
        "_handler",
        "_header_bytes",
        "_headers",
        "_is_deaf",
        "_is_local",
        "_loop",
        "_max_body_bytes",
        "_parser",
        "_queue",
        "_request",
        "_response",
        "_state",
        "_task",
        "_transport",
        "_unread_since",
        "is_closed",
        "is_closing",
    )

    def __init__(
        self, handler: Handler, admit: Admit, backpressure: Backpressure, connections: "set[ServerConnection]"
    ) -> None:
        self._handler, self._admit = handler, admit
        self._backpressure, self._max_body_bytes = backpressure, backpressure.max_body_bytes
        self._connections = connections
        self._parser = httptools.HttpRequestParser(self)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._queue: list[Request] = []
        self._task: asyncio.Task[None] | None = None
        self._response: Response | None = None
        self._deadline = NEVER
        self._unread_since = NEVER
        self._drained: asyncio.Future[None] | None = None
        self._state = "idle"
        self._request = Request()
        self._chunks: list[bytes] = []
        self._header_bytes = self._headers = self._body_bytes = 0
        self._is_local = False
        self._is_deaf = False
        self.is_closed = False
        self.is_closing = False

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

    def _feed(self, data: bytes) -> None:
        while True:
            try:
                self._parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                if self._state != "upgrade":  # CONNECT, which was refused: what follows is for nobody
                    self._is_deaf = True
                    for request in self._queue:
                        request.is_keep_alive = False
                    return
                data = self._head_again() + data[upgrade.args[0] :]
            # A new one, because the old one will not read the body of a message that it has handed over.
            self._parser = httptools.HttpRequestParser(self)

    def _head_again(self) -> bytes:
        request = self._request
        is_http11 = self._parser.get_http_version() == "1.1"
        return without_upgrade(
            request.method, request.path, request.headers, is_http11=is_http11, repeated=request.repeated
        )

    def on_message_begin(self) -> None:
        self._state, self._request = "headers", Request(is_local=self._is_local)
        self._chunks, self._header_bytes, self._headers, self._body_bytes = [], 0, 0, 0
        if not self._is_deaf:
            self._deadline = self._loop.time() + self._backpressure.deadlines.headers_seconds

    def on_url(self, url: bytes) -> None:
        self._request.path += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        self._headers += 1
        name, headers = name.lower(), self._request.headers
        if name in headers and name in ONCE:
            self._request.repeated = name
        if self._headers <= MAX_HEADERS:
            headers[name] = value

    def on_headers_complete(self) -> None:
        if self._is_deaf:
            return
        request = self._request
        self._state = "body"
        request.method = self._parser.get_method().decode()
        has_large_head = self._header_bytes > MAX_HEADER_BYTES or self._headers > MAX_HEADERS
        if b"upgrade" in request.headers and self._is_offer(request) and not has_large_head:
            self._state = "upgrade"  # the head is read once more without it, see `_feed`
            return
        request.path = path_of(request.path)
        request.is_http11 = self._parser.get_http_version() == "1.1"
        request.is_keep_alive = self._parser.should_keep_alive()
        self._deadline = self._loop.time() + self._backpressure.deadlines.body_seconds
        length = request.headers.get(b"content-length", b"0")
        if has_large_head:
            self._refuse_headers()
        elif self._parser.get_http_version() not in VERSIONS:
            # Not 505: whoever sends nonsense must not ring the alarm for the server's own errors.
            self._refuse(RequestRefused(400, "only HTTP/1.0 and HTTP/1.1 are spoken here", "http_version"))
        elif not self._may_go_on(request, has_body=length != b"0" or b"transfer-encoding" in request.headers):
            pass
        elif request.method in BODILESS and length.strip(b"0"):
            self._refuse_any_body()
        elif length.isdigit() and int(length) > self._max_body_bytes:
            self._refuse_body()
        elif b"expect" in request.headers and self._may_continue(request):
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._header_bytes = 0

    def _may_go_on(self, request: Request, *, has_body: bool) -> bool:
        try:
            self._admit(request)
        except RequestRefused as refusal:
            if has_body:
                self._refuse(refusal)  # its body is not read, so nothing can follow it
            else:
                request.refusal = refusal
            return False
        return True

    def _is_offer(self, request: Request) -> bool:
        """Say whether the client offers another protocol for what follows; CONNECT asks for one, and is refused."""
        return request.method != "CONNECT" and bool(self._parser.should_upgrade())

    def _may_continue(self, request: Request) -> bool:
        """Say whether the client waits for a word before it sends the body; one of HTTP/1.0 would not understand it."""
        is_asked = request.headers[b"expect"].lower() == b"100-continue"
        return is_asked and request.is_http11 and self._task is None

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        self._header_bytes = 0
        if self._is_deaf:
            return
        if self._request.method in BODILESS:  # one that came in chunks
            self._refuse_any_body()
        elif self._body_bytes > self._max_body_bytes:
            self._refuse_body()
        elif not self._backpressure.take(self._request, len(body)):
            self._refuse(TOO_MANY_BYTES)
        else:
            self._chunks.append(body)

    def on_message_complete(self) -> None:
        if self._state == "upgrade":
            return
        self._state, self._deadline = "idle", NEVER
        if not self._is_deaf:
            self._request.body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
            self._queue.append(self._request)
            if len(self._queue) > MAX_PIPELINED:
                self._refuse(RequestRefused(429, f"over {MAX_PIPELINED} requests wait unanswered", "too_many_requests"))

    def pause_writing(self) -> None:
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None
        if not self.is_closed:
            self._start_next()

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

    def _refuse_headers(self) -> None:
        message = f"the headers are over {MAX_HEADER_BYTES} bytes, or more than {MAX_HEADERS}"
        self._refuse(RequestRefused(431, message, "headers_too_large"))

    def _refuse_any_body(self) -> None:
        method = self._request.method
        self._refuse(RequestRefused(400, f"{method} takes no body; send it without one", "no_body_taken"))

    def _refuse_body(self) -> None:
        message = f"the body is over {self._max_body_bytes} bytes (serve.max_body_bytes); send less"
        self._refuse(RequestRefused(413, message, "body_too_large"))

    def _refuse(self, refusal: RequestRefused) -> None:
        if self._is_deaf:
            return
        self._is_deaf, self._deadline = True, NEVER
        self._chunks = []
        self._backpressure.give_back(self._request)
        if self._state == "idle":  # what came before was whole and gets its own answer
            self._request = Request()
        self._request.refusal, self._request.is_keep_alive = refusal, False
        self._queue.append(self._request)

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
