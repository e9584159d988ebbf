"""A fake engine that answers at once in the shapes of vLLM, for suites that need no model.

python -m tests.support.upstream

Prints its port. A body with `"big": N` is streamed N bytes, as fast as they are taken.
"""

import asyncio
import json
from typing import cast

import httptools
import uvloop

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "card"}, "finish_reason": "stop"}
WHOLE = json.dumps(
    {"id": "c", "object": "chat.completion", "created": 1, "model": "v1", "usage": USAGE, "choices": [CHOICE]}
).encode()
EVENT = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"card"}}]}\n\n'
LAST = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}\n\ndata: [DONE]\n\n'
EVENTS = 8


class Upstream(asyncio.Protocol):
    """One connection from the gateway."""

    def __init__(self, seen: list[bytes]) -> None:
        self._seen = seen
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._body = b""
        self._pump: asyncio.Task[None] | None = None
        self._may_write = asyncio.Event()
        self._may_write.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._pump is not None:
            self._pump.cancel()

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._seen.append(self._parser.get_method() + b" " + url)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        body, self._body = self._body, b""
        if b'"big":' in body:
            self._pump = asyncio.get_running_loop().create_task(self._send(int(json.loads(body)["big"])))
        elif b'"stream": true' in body or b'"stream":true' in body:
            self._transport.write(self._head() + self._chunk(EVENT) * EVENTS + self._chunk(LAST) + b"0\r\n\r\n")
        else:
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(WHOLE)
            self._transport.write(head + WHOLE)

    async def _send(self, size: int) -> None:
        self._transport.write(self._head())
        for _ in range(size // (64 * len(EVENT)) + 1):
            await self._may_write.wait()
            self._transport.write(self._chunk(EVENT * 64))
        self._transport.write(self._chunk(LAST) + b"0\r\n\r\n")

    @staticmethod
    def _head() -> bytes:
        return b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"

    @staticmethod
    def _chunk(data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data)


async def listen(seen: list[bytes]) -> asyncio.Server:
    """Listen on a free port of loopback; `seen` gets the method and target of whatever arrives."""
    return await asyncio.get_running_loop().create_server(lambda: Upstream(seen), "127.0.0.1", 0, backlog=4096)


async def main() -> None:
    """Answer until the process is stopped."""
    server = await listen([])
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
