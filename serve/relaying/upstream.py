"""The HTTP client for engines, with a pool of keep-alive connections.

A pooled connection that the engine has closed meanwhile is noticed before any byte of the answer; the request
is then sent once more on a fresh one.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, cast

import httptools

from driftwheel.errors import EngineError

BAD_REQUEST = 400
CONNECT_SECONDS = 5.0
"""Loopback connects at once; this is for engines elsewhere, and leaves time to ask a second one."""
MAX_IDLE_CONNECTIONS = 128
MAX_BUFFERED_BYTES = RECEIVE_BUFFER_BYTES = 8_192
"""For each answer, here and in the system: a client that reads slowly holds up the engine, not the gateway's memory."""


class UpstreamConnection(asyncio.Protocol):
    """One connection to an engine, with at most one request on it."""

    def __init__(self, pool: "UpstreamPool") -> None:
        self._pool = pool
        self._transport: asyncio.Transport
        self._waiter: asyncio.Future[None] | None = None
        self._is_paused = False
        self.is_open = False
        self.is_reused = False
        self._parser: Any = httptools.HttpResponseParser(self)
        self.reset()

    def reset(self) -> None:
        """Forget the last answer."""
        self._chunks: list[bytes] = []
        self._buffered_bytes = 0
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.has_bytes = self.has_head = self.is_complete = self._is_keep_alive = False
        self.error: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop has its own class
        # What cannot be passed on waits at the engine, not here.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        self.is_open = True

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        self._pool.forget(self)
        is_framed = b"content-length" in self.headers or b"transfer-encoding" in self.headers
        if self.has_head and not is_framed and error is None:
            self.is_complete = True
        if not self.is_complete:
            self.error = self.error or f"the engine closed the connection{f': {error}' if error else ''}"
        self._wake()

    def data_received(self, data: bytes) -> None:
        self.has_bytes = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.fail(f"the engine's answer is not HTTP: {error}")
        self._wake()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self.has_head = self.status >= 200

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)
        self._buffered_bytes += len(body)
        if self._buffered_bytes > MAX_BUFFERED_BYTES and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        self.is_complete = self.has_head
        self._is_keep_alive = self._parser.should_keep_alive()  # after the message the parser has forgotten it

    def send(self, data: bytes) -> None:
        """Send a request."""
        self._transport.write(data)

    async def head(self) -> None:
        """Wait for status and headers; raises EngineError."""
        while not self.has_head:
            await self._wait()

    async def read(self) -> bytes:
        """Return the body's next bytes, or nothing at its end; raises EngineError if it breaks off."""
        while not self._chunks and not self.is_complete:
            await self._wait()
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks, self._buffered_bytes = [], 0
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()
        return data

    def fail(self, reason: str) -> None:
        """Close the connection at once; whoever reads from it gets an EngineError with the reason."""
        self.error = self.error or reason
        if self.is_open:
            self._transport.abort()
        self._wake()

    def release(self) -> None:
        """Give the connection back, or close it if it cannot carry another request."""
        if self.is_open and self.is_complete and self.error is None and self._is_keep_alive:
            self._pool.keep(self)
        else:
            self.fail("released")

    async def _wait(self) -> None:
        if self.error is not None:
            raise EngineError(self.error)
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class UpstreamPool:
    """The connections to one engine."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self._idle: list[UpstreamConnection] = []

    async def take(self, *, fresh: bool = False) -> UpstreamConnection:
        """Return a connection, a pooled one unless `fresh`; raises EngineError."""
        if self._idle and not fresh:
            connection = self._idle.pop()
            connection.reset()
            connection.is_reused = True
            return connection
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, made = await loop.create_connection(lambda: UpstreamConnection(self), self.host, self.port)
        except (OSError, TimeoutError) as error:
            raise EngineError(f"cannot connect to the engine at {self.host}:{self.port}: {error}") from error
        return made

    def keep(self, connection: UpstreamConnection) -> None:
        """Pool a connection that is free again."""
        if len(self._idle) < MAX_IDLE_CONNECTIONS:
            self._idle.append(connection)
        else:
            connection.fail("the pool is full")

    def forget(self, connection: UpstreamConnection) -> None:
        """Drop a closed connection."""
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Close the idle connections."""
        for connection in [*self._idle]:
            connection.fail("the pool closes")


class Exchange:
    """One request to an engine and its answer; `abort` ends it at any moment."""

    def __init__(self, pool: UpstreamPool, request: bytes, as_it_came: Callable[[], bytes] | None = None) -> None:
        """Take a request, and what makes it as the client wrote it, if the gateway added something."""
        self._pool = pool
        self._request, self._as_it_came = request, as_it_came
        self._connection: UpstreamConnection | None = None
        self.abort_reason: str | None = None

    @property
    def status(self) -> int:
        """The answer's status, 0 before it came."""
        return self._connection.status if self._connection else 0

    @property
    def headers(self) -> dict[bytes, bytes]:
        """The answer's headers."""
        return self._connection.headers if self._connection else {}

    async def start(self) -> None:
        """Send the request and wait for the answer's head; raises EngineError."""
        await self._ask()
        if self.status == BAD_REQUEST and self._as_it_came is not None:
            # What the engine says is wrong must be about what the client wrote.
            self.release()
            self._request = self._as_it_came()
            await self._ask()

    async def _ask(self) -> None:
        connection = await self._send(await self._pool.take())
        try:
            await connection.head()
        except EngineError:
            # On a fresh connection, or after a byte of the answer, the engine may have begun: it is not asked twice.
            if not connection.is_reused or connection.has_bytes or self.abort_reason is not None:
                raise
            connection = await self._send(await self._pool.take(fresh=True))
            await connection.head()

    async def _send(self, connection: UpstreamConnection) -> UpstreamConnection:
        self._connection = connection
        if self.abort_reason is not None:
            connection.fail(self.abort_reason)
        else:
            connection.send(self._request)
        return connection

    async def read(self) -> bytes:
        """Return the body's next bytes, or nothing at its end; raises EngineError."""
        assert self._connection is not None
        return await self._connection.read()

    def abort(self, reason: str) -> None:
        """Close the connection to the engine, which stops its work on the request."""
        self.abort_reason = self.abort_reason or reason
        if self._connection is not None:
            self._connection.fail(reason)

    def release(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.release()
