"""Parses HTTP/1.1 requests from the bytes of one connection, and bounds what a head and a body may take.

Headers, bodies and waiting requests are bounded in bytes and in number. Whether a request may go on is asked as soon as
its head is there. What cannot be a request is queued as a request with a refusal. An offer to speak another protocol is
ignored, as servers may; JDK's HttpClient makes one with each first request.
"""

import asyncio
import math
from collections.abc import Callable

import httptools

from serve.access.backpressure import TOO_MANY_BYTES, Backpressure
from serve.http.messages import Request
from serve.http.request_head import path_of, without_upgrade
from serve.refusals import RequestRefused

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

Admit = Callable[[Request], None]


class RequestParser(asyncio.Protocol):
    """Turns what a client sends into requests in a queue; httptools calls the methods that begin with `on_`."""

    # Strangers open thousands of connections, and each is to take little: no dict, and a list where a deque takes 600
    # bytes. For the same reason the connection is this object, and does not hold it.
    __slots__ = (
        "_admit",
        "_backpressure",
        "_body_bytes",
        "_chunks",
        "_deadline",
        "_header_bytes",
        "_headers",
        "_is_deaf",
        "_is_local",
        "_loop",
        "_max_body_bytes",
        "_parser",
        "_queue",
        "_request",
        "_state",
    )

    def __init__(self, admit: Admit, backpressure: Backpressure) -> None:
        self._admit = admit
        self._backpressure, self._max_body_bytes = backpressure, backpressure.max_body_bytes
        self._parser = httptools.HttpRequestParser(self)
        self._loop = asyncio.get_running_loop()
        self._queue: list[Request] = []
        self._deadline = NEVER
        self._state = "idle"
        self._request = Request()
        self._chunks: list[bytes] = []
        self._header_bytes = self._headers = self._body_bytes = 0
        self._is_local = False
        self._is_deaf = False

    @property
    def is_answering(self) -> bool:
        """Say whether an answer is being made; then the words of a later request's answer must wait."""
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        """Write to the client, if there still is one."""
        raise NotImplementedError

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
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
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
        return is_asked and request.is_http11 and not self.is_answering

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
