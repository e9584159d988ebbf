"""A real S3 server of the tests' own, moto's, in a process of its own; and a door before it that may be broken.

The door hands bytes on in both directions. While it has a fault, it keeps answers back (`slow`), answers each upload as
a full store does (`full`), hangs up in the middle of each upload (`cut`), or once before an answer (`drop`).
"""

import contextlib
import http.client
import select
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from driftwheel.machine.system import free_port

BUCKET = "artifacts"
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
FULL_BODY = b"<Error><Code>QuotaExceeded</Code><Message>the store is full</Message></Error>"
FULL = b"HTTP/1.1 403 Forbidden\r\ncontent-type: application/xml\r\ncontent-length: %d\r\n\r\n" % len(FULL_BODY)
START_SECONDS = 60
CUT_BYTES = 100_000


class S3Server:
    """A running server with one bucket."""

    def __init__(self, log_path: Path, host: str = "127.0.0.1") -> None:
        self.address = (host, free_port())
        self.url = f"http://{host}:{self.address[1]}"
        argv = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", host, "-p", str(self.address[1])]
        with log_path.open("wb") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError):
                assert self.send("PUT", "") == 200
                return
            time.sleep(0.05)
        raise TimeoutError(f"moto's server does not start; see {log_path}")

    def send(self, method: str, key: str, body: bytes = b"") -> int:
        """Ask for something as whoever has the bucket's keys may, and return the status."""
        connection = http.client.HTTPConnection(*self.address, timeout=60)
        try:
            connection.request(method, f"/{BUCKET}/{key}".rstrip("/"), body)
            return connection.getresponse().status
        finally:
            connection.close()

    def stop(self) -> None:
        """End it; what it held is gone."""
        self._process.terminate()
        self._process.wait(START_SECONDS)


class Door:
    """Hands connections on to a server; `fault` may be set at any time."""

    def __init__(self, address: tuple[str, int], host: str = "127.0.0.1") -> None:
        self.fault = ""
        self._address = address
        self._listener = socket.create_server((host, 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://{host}:{self.port}"
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        """Take no connection any more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._hand_on, args=(client,), daemon=True).start()

    def _hand_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._address) as server, contextlib.suppress(OSError):
            sent = 0
            while True:
                for source in select.select([client, server], [], [])[0]:
                    piece = source.recv(1 << 16)
                    if not piece:
                        return
                    if source is client:
                        sent += len(piece)
                        if self.fault == "full" and piece.startswith((b"PUT ", b"POST ")):
                            client.sendall(FULL + FULL_BODY)
                            return
                        if self.fault == "cut" and sent > CUT_BYTES:
                            return
                        server.sendall(piece)
                    elif self.fault == "drop":
                        self.fault = ""
                        return
                    elif self.fault != "slow":
                        client.sendall(piece)
