"""Gateways that are broken on purpose, by name, to show that a suite notices.

Each bug is one that gateways have had.
"""

import asyncio
import itertools
import json
import math
from collections.abc import Callable, Iterable
from unittest import mock

from driftwheel.records.nouns import Traffic
from serve import gateway as gateway_module
from serve.access.backpressure import Deadlines
from serve.gateway import Gateway
from serve.http.messages import Response
from serve.refusals import RequestRefused
from serve.relaying.call import Call, read_call
from serve.relaying.capture import StreamCapture

EMPTY_DELTA = b'"content":""'
ROWS_UNTIL_LOST = 20


def _no_deadlines(gateway: Gateway) -> None:
    gateway.backpressure.deadlines = Deadlines(*[math.inf] * 4)


def _written_again(_: Gateway) -> None:
    send = Response.send

    def send_written_again(self: Response, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        send(self, status, headers, json.dumps(json.loads(body), separators=(",", ":")).encode())

    mock.patch.object(Response, "send", send_written_again).start()


def _without_empty_events(_: Gateway) -> None:
    feed = StreamCapture.feed

    def feed_without(self: StreamCapture, data: bytes) -> bytes:
        return b"".join(e + b"\n\n" for e in feed(self, data).split(b"\n\n") if e and EMPTY_DELTA not in e)

    mock.patch.object(StreamCapture, "feed", feed_without).start()


def _forgetful_log(gateway: Gateway) -> None:
    append, rows = gateway._relay._rows.append, itertools.count(1)

    def append_most(row: Traffic) -> "asyncio.Future[Exception | None]":
        if next(rows) % ROWS_UNTIL_LOST:
            return append(row)
        future: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future

    mock.patch.object(gateway._relay._rows, "append", append_most).start()


def _tells_its_path(_: Gateway) -> None:
    body = RequestRefused.body
    told = f', "file": "{__file__}"}}}}'.encode()
    mock.patch.object(RequestRefused, "body", lambda self: body(self)[:-2] + told).start()


def _ascii_only(_: Gateway) -> None:
    def read_ascii(body: bytes, path: str) -> Call:
        body.decode("ascii")
        return read_call(body, path)

    mock.patch.object(gateway_module, "read_call", read_ascii).start()


PLANTS: dict[str, Callable[[Gateway], None]] = {
    "no-deadlines": _no_deadlines,
    "written-again": _written_again,
    "without-empty-events": _without_empty_events,
    "forgetful-log": _forgetful_log,
    "tells-its-path": _tells_its_path,
    "ascii-only": _ascii_only,
}
