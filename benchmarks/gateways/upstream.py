"""A fake engine that costs next to nothing: OpenAI-shaped answers of fixed size, whole or streamed.

    python -m benchmarks.gateways.upstream --events 40 --gap-ms 2

Each streamed event's text is the time at which it was written, in nanoseconds of CLOCK_MONOTONIC, which all
processes of a machine share: so the client knows how long an event was on its way.
"""

import argparse
import asyncio
import json
import sys
import time
from typing import Any, cast

import httptools
import uvloop

TEXT = "The card was sent on Monday and should arrive within five working days. " * 4
USAGE = {"prompt_tokens": 180, "completion_tokens": 60, "total_tokens": 240}


def whole(model: str) -> bytes:
    """Return an answer of about 700 bytes, with its head."""
    choice = {"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop", "logprobs": None}
    body = json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": model,
            "choices": [choice],
            "usage": USAGE,
            "system_fingerprint": "v1",
        }
    ).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def event(model: str, text: str, finish_reason: str | None = None, usage: dict[str, int] | None = None) -> bytes:
    """Return one server-sent event, as a chunk of its own."""
    choices = [{"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}] if usage is None else []
    value: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": model,
        "choices": choices,
    }
    if usage is not None:
        value["usage"] = usage
    return framed(b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n")


def framed(data: bytes) -> bytes:
    """Return bytes as one HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
STREAM_END = framed(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Answering(asyncio.Protocol):
    """One connection of a gateway."""

    def __init__(self, events: int, gap_seconds: float) -> None:
        self._events, self._gap_seconds = events, gap_seconds
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._body = b""
        self._url = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_message_begin(self) -> None:
        self._body = b""

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if not self._body:
            self._transport.write(self._list_models())
            return
        fields = json.loads(self._body)
        if fields.get("stream"):
            wants_usage = bool((fields.get("stream_options") or {}).get("include_usage"))
            asyncio.get_running_loop().create_task(self._stream(fields["model"], wants_usage))
        else:
            self._transport.write(whole(fields["model"]))

    def _list_models(self) -> bytes:
        body = b'{"object":"list","data":[{"id":"bench","object":"model"}]}'
        return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)

    async def _stream(self, model: str, wants_usage: bool) -> None:
        self._transport.write(STREAM_HEAD)
        for _ in range(self._events):
            self._transport.write(event(model, str(time.monotonic_ns())))
            await asyncio.sleep(self._gap_seconds)
            if self._transport.is_closing():
                return
        last = event(model, "", "stop") + (event(model, "", usage=USAGE) if wants_usage else b"")
        self._transport.write(last + STREAM_END)


async def serve(events: int, gap_seconds: float) -> None:
    """Listen on a free port, print it, and answer until killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Answering(events, gap_seconds), "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=40)
    parser.add_argument("--gap-ms", type=float, default=2.0)
    arguments = parser.parse_args()
    uvloop.run(serve(arguments.events, arguments.gap_ms / 1000))
