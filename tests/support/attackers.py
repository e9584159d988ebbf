"""Attacks on a port, such as slow headers; each reports what it did and what ended it."""

import asyncio
import contextlib
import json
import select
import socket
import time
import zlib
from collections.abc import Awaitable, Callable

from tests.support.served import ATTACKERS_KEY

GIVE_UP_SECONDS = 45.0
PATH = "/v1/chat/completions"
QUESTION = {"model": "bench", "messages": [{"role": "user", "content": "where is my card"}]}
Attack = Callable[[int], Awaitable[str]]
"""A port becomes what ended the attack: an HTTP status, `closed`, or `still open`."""


def head(size: int | None, *more: str, key: str = ATTACKERS_KEY) -> bytes:
    """Return the head of a request with a body of a size, or with an endless one."""
    length = "transfer-encoding: chunked" if size is None else f"content-length: {size}"
    lines = [f"POST {PATH} HTTP/1.1", "host: gateway", *([f"authorization: Bearer {key}"] if key else []), length]
    return "\r\n".join([*lines, *more, "", ""]).encode()


async def slow_headers(port: int) -> str:
    """Send a header byte by byte."""
    return await _drip(port, b"GET /healthz HTTP/1.1\r\nx: ", b"a")


async def slow_body(port: int) -> str:
    """Send half of a body, and then byte by byte."""
    return await _drip(port, head(1_000_000) + b" " * 500_000, b" ")


async def slow_reader(port: int) -> str:
    """Ask for a long stream and never read it."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", port))
        body = json.dumps({**QUESTION, "stream": True, "big": 4_000_000}).encode()
        await loop.sock_sendall(client, head(len(body)) + body)
        poll = select.poll()
        poll.register(client, 0)
        ends_at = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < ends_at:
            await asyncio.sleep(0.5)
            if poll.poll(0):
                return "closed"
            # A refusal is short and fits into the buffers, so it is seen by looking without taking.
            with contextlib.suppress(BlockingIOError):
                if (seen := client.recv(12, socket.MSG_PEEK)) and not seen.endswith(b"200"):
                    return seen[9:12].decode()
        return "still open"


async def huge_body(port: int) -> str:
    """Announce and send a gigabyte."""
    return await _pour(port, head(1_000_000_000), b"a" * 65_536)


async def endless_chunks(port: int) -> str:
    """Send chunks without end."""
    return await _pour(port, head(None), b"10000\r\n" + b"a" * 65_536 + b"\r\n")


async def strangers_body(port: int) -> str:
    """Send a gigabyte without a key."""
    return await _pour(port, head(1_000_000_000, key=""), b"a" * 65_536)


async def huge_headers(port: int) -> str:
    """Send a megabyte of headers."""
    return await _pour(port, b"GET /healthz HTTP/1.1\r\n", b"x: " + b"a" * 1000 + b"\r\n", times=1000)


async def endless_trailer(port: int) -> str:
    """End a body and send a trailer without end, without a key."""
    start = b"GET /healthz HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: "
    return await _pour(port, start, b"a" * 65_536)


async def deep_json(port: int) -> str:
    """Nest 10,000 deep."""
    body = b'{"model": "bench", "messages": ' + b"[" * 10_000 + b"]" * 10_000 + b"}"
    return await _pour(port, head(len(body)), body, times=1)


async def wide_json(port: int) -> str:
    """Send a body whose parsed form is 25 times as large."""
    body = b'{"model": "bench", "messages": [' + b"{}," * 300_000 + b"{}]}"
    return await _pour(port, head(len(body)), body, times=1)


async def gzip_bomb(port: int) -> str:
    """Send a compressed body that would unpack to 10 MB."""
    body = zlib.compress(b" " * 10_000_000)
    return await _pour(port, head(len(body), "content-encoding: gzip"), body, times=1)


async def billion_answers(port: int) -> str:
    """Ask for a billion answers."""
    body = json.dumps({**QUESTION, "n": 10**9}).encode()
    return await _pour(port, head(len(body)), body, times=1)


COUNTS: dict[Attack, int] = {
    slow_headers: 2000,
    slow_body: 500,
    slow_reader: 500,
    huge_body: 20,
    endless_chunks: 20,
    strangers_body: 20,
    huge_headers: 20,
    endless_trailer: 20,
    deep_json: 200,
    wide_json: 20,
    gzip_bomb: 50,
    billion_answers: 200,
}
ANSWERED = {
    deep_json: "400",
    wide_json: "400",
    billion_answers: "400",
    gzip_bomb: "415",
    huge_body: "413",
    endless_chunks: "413",
    strangers_body: "401",
    huge_headers: "431",
    endless_trailer: "431",
}
"""What must be told where the attacker reads; 503 where too many large bodies are held already."""


async def _drip(port: int, start: bytes, drop: bytes) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = asyncio.create_task(_status(reader))
    try:
        writer.write(start)
        ends_at = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < ends_at:
            done, _ = await asyncio.wait([answer], timeout=1.0)
            if done:
                return answer.result()
            writer.write(drop)
        return "still open"
    finally:
        answer.cancel()
        writer.close()


async def _pour(port: int, start: bytes, part: bytes, times: int = 1 << 30) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = asyncio.create_task(_status(reader))
    try:
        writer.write(start)
        for _ in range(times):
            if answer.done():
                break
            writer.write(part)
            await writer.drain()
        if times == 1000:
            writer.write(b"\r\n")
        done, _ = await asyncio.wait([answer], timeout=GIVE_UP_SECONDS)
        return answer.result() if done else "still open"
    except ConnectionError:
        done, _ = await asyncio.wait([answer], timeout=1.0)
        return answer.result() if done else "closed"
    finally:
        answer.cancel()
        writer.close()


async def _status(reader: asyncio.StreamReader) -> str:
    """Return the status that came, once the gateway has closed; a keep-alive answer ends it too."""
    try:
        line = await reader.readline()
    except ConnectionError:
        return "closed"
    return line[9:12].decode() or "closed"
