"""The load client: answers a second, latencies, and delays of streamed events of one gateway.

    python -m benchmarks.gateways.client --port P --model M --connections 16 --seconds 3 [--stream] [--header "N: V"]

Closed loop: each connection sends its next request when the last answer is complete. Prints one JSON object.
"""

import argparse
import asyncio
import json
import re
import statistics
import sys
import time
from functools import partial
from typing import Any, cast

import httptools
import uvloop

STAMP = re.compile(rb'"content": ?"(\d{9,})"')
PROMPT = "I ordered a new card nine days ago and it is still not here. The app says that it was sent. " * 3


def request(arguments: argparse.Namespace) -> bytes:
    """Return a request's bytes."""
    messages = [{"role": "system", "content": "You answer questions of a bank's customers."}]
    messages.append({"role": "user", "content": PROMPT})
    fields: dict[str, Any] = {"model": arguments.model, "messages": messages, "max_tokens": 60, "temperature": 0}
    if arguments.stream:
        fields["stream"] = True
    body = json.dumps(fields).encode()
    lines = ["POST /v1/chat/completions HTTP/1.1", f"host: 127.0.0.1:{arguments.port}"]
    lines += ["content-type: application/json", f"content-length: {len(body)}", *arguments.header]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


class Asking(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, request: bytes, until: float, done: "asyncio.Future[None]") -> None:
        self._request, self._until, self._done = request, until, done
        self._transport: asyncio.Transport
        self.waits: list[float] = []
        self.first_waits: list[float] = []
        self.delays: list[int] = []
        self.events = self.errors = 0
        self._has_first = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._done.done():
            self.errors += 1
            self._done.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        stamps = STAMP.findall(body)
        if not stamps:
            return
        now = time.monotonic_ns()
        if not self._has_first:
            self._has_first = True
            self.first_waits.append(time.perf_counter() - self._sent_at)
        self.events += len(stamps)
        self.delays += [now - int(stamp) for stamp in stamps]

    def on_message_complete(self) -> None:
        self.waits.append(time.perf_counter() - self._sent_at)
        self.errors += self._parser.get_status_code() != 200
        if time.perf_counter() < self._until:
            self._send()
        else:
            self._done.set_result(None)
            self._transport.close()

    def _send(self) -> None:
        self._parser: Any = httptools.HttpResponseParser(self)
        self._has_first = False
        self._sent_at = time.perf_counter()
        self._transport.write(self._request)


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Ask for so many seconds and return counts and times in milliseconds."""
    loop = asyncio.get_running_loop()
    data, started_at = request(arguments), time.perf_counter()
    until = started_at + arguments.seconds
    futures = [loop.create_future() for _ in range(arguments.connections)]
    asking = []
    for future in futures:
        made = await loop.create_connection(partial(Asking, data, until, future), "127.0.0.1", arguments.port)
        asking.append(made[1])
    await asyncio.wait(futures, timeout=arguments.seconds + 30)
    seconds = time.perf_counter() - started_at
    waits = [wait for one in asking for wait in one.waits]
    delays = [delay / 1e6 for one in asking for delay in one.delays]
    first_waits = [wait for one in asking for wait in one.first_waits]
    return {
        "answers": len(waits),
        "errors": sum(one.errors for one in asking) + sum(not future.done() for future in futures),
        "events": sum(one.events for one in asking),
        "seconds": seconds,
        "p50_ms": quantile(waits, 0.5) * 1000,
        "p99_ms": quantile(waits, 0.99) * 1000,
        "first_p50_ms": quantile(first_waits, 0.5) * 1000,
        "delay_p50_ms": quantile(delays, 0.5),
        "delay_p99_ms": quantile(delays, 0.99),
    }


def quantile(values: list[float], share: float) -> float:
    """Return the value below which a share of the values lies; 0 without values."""
    if len(values) < 2:
        return values[0] if values else 0.0
    return statistics.quantiles(values, n=1000, method="inclusive")[round(share * 1000) - 1]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--header", action="append", default=[])
    sys.stdout.write(json.dumps(uvloop.run(measure(parser.parse_args()))) + "\n")
