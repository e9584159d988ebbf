"""Backpressure: bounds on connections, bodies and requests that are held at once; what is over gets 503 or 429.

A refusal at the door, with a Retry-After, keeps memory and waiting times bounded; with a queue that has no end every
request would time out once engines are slower than clients.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from serve.refusals import RequestRefused
from serve.routing.table import EngineRoute

RETRY_AFTER = (("retry-after", "2"),)
SMALL_BODY_BYTES = 65_536
"""A body up to this size is always taken: a chat of usual length must get in while large ones are turned away."""
TOO_MANY_BYTES = RequestRefused(
    503, "too many large requests are held at once; try again soon", "overloaded", headers=RETRY_AFTER
)


@dataclass(frozen=True)
class Deadlines:
    """How long a client may take; `serve/http/http1.py` closes it afterwards."""

    headers_seconds: float = 10.0
    body_seconds: float = 20.0
    """For the whole body, however it trickles."""
    unread_seconds: float = 20.0
    """For the answer's bytes that the system could not hand over; any of them, all the time."""
    keep_alive_seconds: float = 75.0
    """Between two requests; longer than what load balancers use (60), so that they close first."""


class HoldsBytes(Protocol):
    """A request, as far as its body's memory matters here."""

    held_bytes: int


class Backpressure:
    """Counts of one gateway, with their limits."""

    def __init__(self, *, max_body_bytes: int, max_held_bytes: int, max_connections: int, max_in_flight: int) -> None:
        self.max_body_bytes = max_body_bytes
        self.max_connections = max_connections
        self._max_held_bytes = max_held_bytes
        self._max_in_flight = max_in_flight
        self.deadlines = Deadlines()
        self.held_bytes = 0
        self.lingering: dict[object, Callable[[], None]] = {}
        """What ends each connection that was refused and may still read why, the oldest first."""
        self._of_caller: Counter[str] = Counter()

    def end_one_lingering(self) -> bool:
        """End the connection that was refused first, if there is one; who was refused must not keep a place."""
        for connection, end in self.lingering.items():
            del self.lingering[connection]
            end()
            return True
        return False

    def take(self, request: HoldsBytes, size: int) -> bool:
        """Count bytes of a body that is held; say no if it is a large one and too much is held already."""
        if request.held_bytes + size > SMALL_BODY_BYTES and self.held_bytes + size > self._max_held_bytes:
            return False
        request.held_bytes += size
        self.held_bytes += size
        return True

    def give_back(self, request: HoldsBytes) -> None:
        """Count a request's body no more."""
        self.held_bytes -= request.held_bytes
        request.held_bytes = 0

    def enter(self, route: EngineRoute, caller_id: str) -> None:
        """Begin a request to an engine, or raise RequestRefused; `leave` must follow if it does not raise.

        No key gets more than half of an engine's places, so that one cannot keep the others out.
        """
        if route.in_flight >= self._max_in_flight:
            message = f"{route.in_flight} requests wait for {route.version_id} already; try again soon"
            raise RequestRefused(503, message, "overloaded", headers=RETRY_AFTER)
        if self._of_caller[caller_id] >= self._max_in_flight // 2:
            message = f"this key has {self._of_caller[caller_id]} requests in flight, half of what is taken from all"
            raise RequestRefused(429, message, "concurrency_limit_exceeded", headers=RETRY_AFTER)
        self._of_caller[caller_id] += 1

    def leave(self, caller_id: str) -> None:
        """End a request to an engine."""
        self._of_caller[caller_id] -= 1
        if not self._of_caller[caller_id]:
            del self._of_caller[caller_id]
