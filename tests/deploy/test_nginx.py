"""A real nginx with the shipped file: TLS, answers piece by piece, and one of two gateways killed under load."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import httpx2
import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from openai.types.chat import ChatCompletionUserMessageParam

from driftwheel.machine.system import free_port
from driftwheel.settings.serving import ServeSettings
from tests.support.absent import absent
from tests.support.deployed import ROOT
from tests.support.served import KEY, Served, gateway_before

CONFIGURATION = ROOT / "deploy" / "nginx" / "driftwheel.conf"
NAME = "driftwheel.example"
HELLO: ChatCompletionUserMessageParam = {"role": "user", "content": "hello"}
PIECES, PIECE_SECONDS = 5, 30.0
REQUESTS, AT_ONCE = 120, 8
MAIN = """
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
daemon off;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/driftwheel.conf;
}}
"""


class Engine(BaseHTTPRequestHandler):
    """Answers a chat at once, or in pieces, each when the one before has arrived; after a while without that, too."""

    protocol_version = "HTTP/1.1"
    arrived = threading.Semaphore(0)
    """The client says so of each piece."""
    held_back: ClassVar[list[int]] = []
    """Pieces that had not arrived in time."""

    def do_POST(self) -> None:
        """Answer a question."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        about = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": body["model"]}
        if not body.get("stream"):
            message = {"role": "assistant", "content": "card"}
            self._whole({**about, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for number in range(PIECES):
            self._chunk({**about, "choices": [{"index": 0, "delta": {"content": f"{number} "}}]})
            if not self.arrived.acquire(timeout=PIECE_SECONDS):
                self.held_back.append(number)
                break
        self._chunk({**about, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self.wfile.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")

    def _whole(self, answer: object) -> None:
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _chunk(self, event: object) -> None:
        data = f"data: {json.dumps(event)}\n\n".encode()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@dataclass
class Front:
    """nginx, and the two gateways behind it."""

    port: int
    trust: ssl.SSLContext
    gateways: list[Served]

    def client(self) -> AsyncOpenAI:
        """Return OpenAI's own client, with the retries that it does by itself."""
        http = DefaultAsyncHttpxClient(verify=self.trust, trust_env=False)
        return AsyncOpenAI(base_url=f"https://localhost:{self.port}/v1", api_key=KEY, http_client=http)


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """The shipped file, with the names, ports and paths of this test; its last test kills a gateway."""
    tmp_path = tmp_path_factory.mktemp("front")
    if shutil.which("nginx") is None:
        absent("nginx", install="Debian's package nginx-light")
    engine = ThreadingHTTPServer(("127.0.0.1", 0), Engine)
    thread = threading.Thread(target=engine.serve_forever, daemon=True)
    thread.start()
    with contextlib.ExitStack() as stack:
        stack.callback(engine.server_close)
        stack.callback(engine.shutdown)
        folders = [tmp_path / name for name in ("a", "b")]
        for folder in folders:
            folder.mkdir()
        gateways = [stack.enter_context(gateway_before(engine.server_port, folder)) for folder in folders]
        port = stack.enter_context(nginx(tmp_path, [gateway.port for gateway in gateways]))
        yield Front(port, ssl.create_default_context(cafile=str(tmp_path / "tls.crt")), gateways)


@contextlib.contextmanager
def nginx(folder: Path, gateways: list[int]) -> Iterator[int]:
    """Run nginx for as long as the block lasts; returns its port."""
    text, port = CONFIGURATION.read_text(encoding="utf-8"), free_port()
    for old, new in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        (NAME, "localhost"),
        ("/etc/nginx/tls/driftwheel", f"{folder}/tls"),
        ("gateway-a:8000", f"127.0.0.1:{gateways[0]}"),
        ("gateway-b:8000", f"127.0.0.1:{gateways[1]}"),
    ):
        assert old in text
        text = text.replace(old, new)
    (folder / "driftwheel.conf").write_text(text, encoding="utf-8")
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder), encoding="utf-8")
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    pair = ["-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt")]
    subprocess.run(["openssl", *words.split(), *pair], check=True, capture_output=True)
    # Its workers are another user where it is started by root, and a test's folder is closed to others.
    user = ["-g", "user root;"] if os.geteuid() == 0 else []
    argv = ["nginx", "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log"), *user]
    checked = subprocess.run([*argv, "-t"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    with subprocess.Popen(argv) as process:
        try:
            deadline = time.monotonic() + 60
            while not listens(port):
                assert process.poll() is None, (folder / "error.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield port
        finally:
            process.terminate()


def listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


async def streamed(front: Front) -> str:
    """Return a streamed answer's text, and tell the engine of each piece."""
    text = ""
    async with front.client() as client:
        async for event in await client.chat.completions.create(model="bench", messages=[HELLO], stream=True):
            if event.choices and event.choices[0].delta.content:
                Engine.arrived.release()
                text += event.choices[0].delta.content
    return text


def test_an_answer_arrives_piece_by_piece(front: Front) -> None:
    text = asyncio.run(streamed(front))
    assert Engine.held_back == [], "a buffer waits for more"
    assert text == "".join(f"{number} " for number in range(PIECES))


def test_only_the_api_is_reachable(front: Front) -> None:
    with httpx2.Client(verify=front.trust, trust_env=False) as client:
        for path in ("/metrics", "/healthz", "/readyz", "/openapi.json", "/"):
            assert (client.get(f"https://localhost:{front.port}{path}")).status_code == 404, path
        head = {"authorization": f"Bearer {KEY}"}
        assert (client.get(f"https://localhost:{front.port}/v1/models", headers=head)).status_code == 200
        assert (client.get(f"https://localhost:{front.port}/v1/models")).status_code == 401
        large = client.post(f"https://localhost:{front.port}/v1/completions", headers=head, content=b" " * 2_000_000)
        assert large.status_code == 413


def test_its_limits_are_those_of_the_settings() -> None:
    text, serve = CONFIGURATION.read_text(encoding="utf-8"), ServeSettings()
    (size,) = re.findall(r"client_max_body_size (\d+)m;", text)
    assert int(size) * 1_048_576 == serve.max_body_bytes
    for limit in re.findall(r"proxy_(?:read|send)_timeout (\d+)s;", text):
        assert int(limit) > serve.request_timeout_seconds


def test_requests_go_on_while_one_of_two_gateways_is_killed(front: Front) -> None:
    answered = Counter[str | None]()

    async def ask(client: AsyncOpenAI, places: asyncio.Semaphore, number: int) -> None:
        async with places:
            if number == REQUESTS // 3:
                os.kill(front.gateways[0].pid, signal.SIGKILL)
            answer = await client.chat.completions.create(model="bench", messages=[HELLO])
            answered[answer.choices[0].message.content] += 1

    async def ask_all() -> None:
        places = asyncio.Semaphore(AT_ONCE)
        async with front.client() as client:
            await asyncio.gather(*(ask(client, places, number) for number in range(REQUESTS)))

    asyncio.run(ask_all())
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"http://127.0.0.1:{front.gateways[0].port}/healthz", trust_env=False)
    assert answered == {"card": REQUESTS}
