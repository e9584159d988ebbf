"""HTTP messages: a client's request, and the answer that is written to its connection."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol

from serve.access.caller import NOBODY, Caller
from serve.refusals import RequestRefused

NO_CONTENT = HTTPStatus.NO_CONTENT
REASONS = {status.value: status.phrase for status in HTTPStatus} | {499: "Client Closed Request"}


class Connection(Protocol):
    """What an answer needs of the connection that it goes out on."""

    is_closed: bool

    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...
    async def drain(self) -> None: ...


@dataclass(eq=False, slots=True)
class Request:
    """One request, complete; with a refusal it is only as much of one as was read."""

    method: str = ""
    path: str = ""
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    is_http11: bool = True
    is_keep_alive: bool = True
    is_local: bool = False
    """It came from this machine."""
    held_bytes: int = 0
    """What it counts for in the gateway's load."""
    repeated: bytes | None = None
    """A header that came twice and must not."""
    client_id: str = ""
    """The client's own id of the request, where it sent one."""
    answer_headers: tuple[tuple[str, str], ...] = ()
    """What its answer carries whatever it is: for a browser, and the client's own id."""
    caller: Caller = NOBODY
    refusal: RequestRefused | None = None


class Response:
    """The answer to one request: `send` it whole, or `start`, `write` and `finish` it."""

    def __init__(self, connection: Connection, request: Request) -> None:
        self._connection = connection
        self._request = request
        self._is_chunked = request.is_http11
        self.has_started = False
        self.on_client_left: Callable[[], None] | None = None

    @property
    def is_gone(self) -> bool:
        """Say whether the client has left."""
        return self._connection.is_closed

    def send(self, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        """Send a whole answer."""
        self.has_started = True
        # An answer that says it has no body must not say how long that is (RFC 9110, section 8.6).
        head = self._head(status, headers if status == NO_CONTENT else [*headers, ("content-length", str(len(body)))])
        self._connection.write(head if self._request.method == "HEAD" else head + body)

    def start(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Send the head of an answer whose length is not known."""
        self.has_started = True
        if self._is_chunked:
            self._connection.write(self._head(status, [*headers, ("transfer-encoding", "chunked")]))
        else:
            self._request.is_keep_alive = False
            self._connection.write(self._head(status, headers))

    def write(self, data: bytes) -> None:
        """Send a part of a started answer."""
        if data:
            self._connection.write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)

    def finish(self) -> None:
        """End a started answer."""
        if self._is_chunked:
            self._connection.write(b"0\r\n\r\n")

    def cut(self) -> None:
        """Close the connection without ending the answer, so that the client knows it is incomplete."""
        self._connection.close()

    async def drain(self) -> None:
        """Wait until the client has taken most of what was written; one that takes nothing is cut off."""
        await self._connection.drain()

    def _head(self, status: int, headers: Iterable[tuple[str, str]]) -> bytes:
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Unknown')}", *(f"{n}: {v}" for n, v in headers)]
        if self._request.answer_headers:
            lines += [f"{n}: {v}" for n, v in self._request.answer_headers]
        lines.append(f"connection: {'keep-alive' if self._request.is_keep_alive else 'close'}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
