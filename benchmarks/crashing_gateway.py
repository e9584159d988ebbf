"""A ledger and an engine that makes its answers up become a real gateway in a process of its own, made to be killed.

The planted bug, `is_early`, acknowledges a row before its transaction is on disk.
"""

import asyncio
import contextlib
import hashlib
import json
import logging
import multiprocessing
import os
import signal
import socket
import time
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess

import structlog
import uvloop

from driftwheel.config import DatasetSettings, ModelSettings, ServeSettings, Settings
from driftwheel.ledger import Ledger
from driftwheel.records import Traffic
from driftwheel.traffic import TrafficLog, Written
from serve.gateway import Gateway
from serve.keys import ApiKeys
from serve.metrics import GatewayMetrics
from serve.routes import EngineRoute, RoutingTable

KEY = "a-key-for-the-benchmark"
ALIAS = "support"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class EarlyLog(TrafficLog):
    """The planted bug: a row counts as written as soon as it is queued."""

    def append(self, row: Traffic, written: Written) -> None:
        super().append(row, lambda error: None)
        written(None)


def settings_for(url: str) -> Settings:
    """Return settings of a gateway on a ledger."""
    return Settings(
        project="durability",
        model=ModelSettings(base="none"),
        dataset=DatasetSettings(sources=["none"]),
        serve=ServeSettings(alias=ALIAS),
        storage={"database_url": url},
    )


def serve_gateway(url: str, port: int, engine_port: int, is_early: bool) -> None:
    """Serve until killed, and leave out the log, which has a line for each answer that a crash withholds."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable()
    uvloop.run(_gateway(settings_for(url), port, engine_port, is_early))


async def _gateway(settings: Settings, port: int, engine_port: int, is_early: bool) -> None:
    ledger, routes = Ledger(settings.database_url), RoutingTable()
    routes.add(EngineRoute("version_1", "127.0.0.1", engine_port, "version_1"))
    routes.point(ALIAS, "version_1")
    traffic_log = (EarlyLog if is_early else TrafficLog)(ledger)
    gateway = Gateway(settings, traffic_log, ledger, routes, GatewayMetrics(), ApiKeys([KEY]))
    await gateway.start("127.0.0.1", port)
    await asyncio.Event().wait()


def answer_to(prompt: str) -> str:
    """Return the engine's answer, which no other prompt gets."""
    return f'{{"answer": "{hashlib.sha256(prompt.encode()).hexdigest()} é"}}'


def serve_engine(port: int) -> None:
    """Answer chat requests until killed."""
    uvloop.run(_engine(port))


async def _engine(port: int) -> None:
    await (await engine_server(port)).serve_forever()


async def engine_server(port: int) -> asyncio.Server:
    """Listen for chat requests; port 0 takes a free one."""
    return await asyncio.start_server(_answer, "127.0.0.1", port, backlog=1024)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().rpartition(b"content-length: ")[2].split(b"\r\n")[0])
            request = json.loads(await reader.readexactly(length))
            text = answer_to(request["messages"][-1]["content"])
            writer.write(_streamed(text) if request.get("stream") else _whole(text))
            await writer.drain()
    writer.close()


def _whole(text: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    body = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 8}}).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def _streamed(text: str) -> bytes:
    deltas = [{"choices": [{"index": 0, "delta": {"content": text[at : at + 16]}}]} for at in range(0, len(text), 16)]
    events = [*(json.dumps(delta) for delta in deltas), "[DONE]"]
    parts = [f"data: {event}\n\n".encode() for event in events]
    return STREAM_HEAD + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


class Processes:
    """The gateway, which can be killed and started again, and the engine, which lives on."""

    def __init__(self, url: str, *, is_early: bool = False) -> None:
        # Forked from a process that has imported everything, so that a restart takes no second.
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__])
        self._url, self._is_early = url, is_early
        self.port, engine_port = free_port(), free_port()
        self._engine_port = engine_port
        self._engine = self._context.Process(target=serve_engine, args=(engine_port,), daemon=True)
        self._engine.start()
        self._gateway = self._start()

    def _start(self) -> BaseProcess:
        arguments = (self._url, self.port, self._engine_port, self._is_early)
        gateway = self._context.Process(target=serve_gateway, args=arguments, daemon=True)
        gateway.start()
        return gateway

    def kill_and_restart(self) -> None:
        """SIGKILL the gateway, and start another."""
        os.kill(self._gateway.pid or 0, signal.SIGKILL)
        self._gateway.join()
        self._gateway = self._start()

    def stop(self) -> None:
        """Kill both."""
        for process in (self._gateway, self._engine):
            process.kill()
            process.join()


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, seconds: float = 60) -> None:
    """Wait until something listens; raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise TimeoutError(f"nothing listens on port {port}")
