"""Clients ask a gateway without pause, keep every byte that they were answered, and compare it with the ledger."""

import asyncio
import contextlib
import itertools
import json
import math
import time
from collections import Counter
from dataclasses import dataclass

from driftwheel.records.nouns import Traffic
from driftwheel.store.ledger import Ledger
from tests.support.crashing_gateway import ALIAS, KEY
from tests.support.fake_engine import answer_to

STREAMED_SHARE = 3
"""Every third request is streamed."""
PAUSE_SECONDS = 0.01


@dataclass(frozen=True)
class Acknowledged:
    """A request that was answered to its end: the oracle, which only the client keeps."""

    prompt: str
    body: bytes
    is_stream: bool
    version_id: str


@dataclass(frozen=True)
class Comparison:
    """What the ledger holds of what was acknowledged."""

    acknowledged: int
    streamed: int
    rows: int
    lost: int
    doubled: int
    different: int


class Load:
    """Clients that ask until told to stop."""

    def __init__(
        self,
        port: int,
        clients: int,
        *,
        key: str = KEY,
        per_second: float = math.inf,
        per_connection: float = math.inf,
        first: int = 0,
    ) -> None:
        """Ask with one key, at most so often in all and on a connection; prompts are numbered from `first` on."""
        self._port, self._clients, self._key = port, clients, key
        self._gap_seconds, self._per_connection = clients / per_second, per_connection
        self._numbers = itertools.count(first)
        self._is_on = True
        self.acknowledged: dict[str, Acknowledged] = {}
        self.statuses: Counter[int] = Counter()
        self.broken = 0
        self.last_at = time.monotonic()
        """When the last answer was complete."""

    async def run(self) -> None:
        """Ask until `stop`."""
        await asyncio.gather(*(self._ask_for_ever(number / self._clients) for number in range(self._clients)))

    @property
    def failed(self) -> int:
        """How many requests were refused or broke off."""
        return self.broken + sum(count for status, count in self.statuses.items() if status != 200)

    def stop(self) -> None:
        """Finish what is being asked."""
        self._is_on = False

    async def wait_for(self, count: int) -> None:
        """Wait until so many requests were acknowledged."""
        while len(self.acknowledged) < count:
            await asyncio.sleep(PAUSE_SECONDS)

    async def _ask_for_ever(self, offset: float) -> None:
        next_at = time.monotonic() + offset * self._gap_seconds
        while self._is_on:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            asked = 0
            try:
                while self._is_on and asked < self._per_connection:
                    asked += 1
                    await asyncio.sleep(max(0.0, next_at - time.monotonic()))
                    next_at += self._gap_seconds
                    if writer.is_closing() or reader.at_eof():  # a killed gateway, or one that ends idle connections
                        break
                    await self._ask(reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError):
                self.broken += 1
            finally:
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = next(self._numbers)
        prompt, is_stream = f"where is parcel {number}", number % STREAMED_SHARE == 0
        request = {"model": ALIAS, "messages": [{"role": "user", "content": prompt}], "stream": is_stream}
        body = json.dumps(request).encode()
        lines = ["POST /v1/chat/completions HTTP/1.1", f"authorization: Bearer {self._key}"]
        writer.write("\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body)
        status_line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines if line)
        answer = await _body(reader, headers)
        status = int(status_line.split()[1])
        self.statuses[status] += 1
        if status == 200:
            version_id = headers["x-driftwheel-version"]
            self.acknowledged[headers["x-request-id"]] = Acknowledged(prompt, answer, is_stream, version_id)
            self.last_at = time.monotonic()
        else:
            await asyncio.sleep(PAUSE_SECONDS)


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    parts = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return b"".join(parts)


def compare(ledger: Ledger, acknowledged: dict[str, Acknowledged]) -> Comparison:
    """Look for each acknowledged request's row: there, once, and with what its client was answered."""
    rows = {row.id: row for row in ledger.find(Traffic)}
    # A canary that fails leaves a row of its own beside that of the answer in its place.
    prompts = Counter(row.prompt for row in rows.values() if row.status_code == 200)
    found = [(known, rows[id]) for id, known in acknowledged.items() if id in rows]
    return Comparison(
        acknowledged=len(acknowledged),
        streamed=sum(known.is_stream for known in acknowledged.values()),
        rows=len(rows),
        lost=len(acknowledged) - len(found),
        doubled=sum(count > 1 for count in prompts.values()),
        different=sum(not _is_same(known, row) for known, row in found),
    )


def _is_same(known: Acknowledged, row: Traffic) -> bool:
    answer = answer_to(known.prompt, known.version_id)
    told = (known.prompt, known.version_id, answer, known.body.decode(), known.is_stream, False)
    return told == (row.prompt, row.version_id, row.answer, row.response, row.is_stream, row.is_partial)
