"""One request on its way through an engine."""

import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from driftwheel.identity import utc_now
from driftwheel.records.nouns import Traffic
from driftwheel.traffic.outcomes import UNWATCHED
from serve.access.caller import Caller
from serve.relaying.call import Call
from serve.routing.table import EngineRoute

TIMED_OUT = "the answer took longer than serve.request_timeout_seconds"


class Trace(Protocol):
    """The spans of one request, as far as relay and gateway need them: neither knows OpenTelemetry."""

    def ask(self, job: "Job") -> str:
        """Begin the span of an engine that is about to be asked, and return the header lines that name it there."""

    def answered(self, row: Traffic, sent: list[bytes]) -> None:
        """End the span of the engine that was asked with what its row says."""

    def end(self, request_id: str, version_id: str, status: int) -> None:
        """End the span of the client's request."""


@dataclass(eq=False, slots=True)
class Job:
    """One request on its way through an engine."""

    request_id: str
    path: str
    call: Call
    route: EngineRoute
    caller: Caller
    second: EngineRoute | None = None
    """An engine that answers instead if this one fails before the client has got a byte."""
    created_at: datetime = field(default_factory=utc_now)
    started_at: float = field(default_factory=time.perf_counter)
    first_token_at: float | None = None
    is_stream: bool = False
    sent: list[bytes] = field(default_factory=list)
    """The body's parts that were given to the client's connection, or will be once the row is written."""
    used_tokens: int = 0
    trace_headers: str = ""
    """Header lines for the engine, each with its end."""
    is_watched: bool = True
    """It is a user's question: monitor, canary, mirror and datasets may read its row."""
    trace: Trace | None = None
    """The spans of the request, where there are any."""

    @property
    def alias(self) -> str:
        """What its row goes by: the model's name as the client wrote it, marked where nobody is to watch it."""
        return self.call.model if self.is_watched else f"{self.call.model}{UNWATCHED}"

    def start_over(self, request_id: str, route: EngineRoute) -> None:
        """Become the second try of a request whose first engine failed."""
        self.request_id, self.route, self.second = request_id, route, None
        self.created_at, self.started_at, self.first_token_at = utc_now(), time.perf_counter(), None
        self.is_stream, self.sent = False, []

    def headers(self, content_type: str) -> list[tuple[str, str]]:
        """Return the headers of the answer."""
        rate_limit = self.caller.rate_limit
        return [
            ("content-type", content_type),
            ("x-request-id", self.request_id),
            ("x-driftwheel-version", self.route.version_id),
            *(rate_limit.headers(time.monotonic()) if rate_limit else ()),
        ]
