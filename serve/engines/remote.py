"""The URLs of engines on other machines become those that serve a version."""

import asyncio
import http.client
import json
from dataclasses import dataclass
from urllib.parse import urlsplit

from driftwheel.errors import ConfigError, EngineError
from serve.engines.liveness import answers_token

TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class RemoteEngine:
    """An engine that somebody else starts and stops (vLLM on another host, Ray Serve, KServe)."""

    name: str
    host: str
    port: int

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://{self.host}:{self.port}"

    @property
    def is_running(self) -> bool:
        """A remote process cannot be seen; the health loop asks it for tokens."""
        return True

    def last_words(self) -> str:
        """Say where its log is."""
        return f"see the log of {self.url}"

    def wait_ready(self, timeout_seconds: float) -> None:
        """Raise EngineError unless it gives a token now."""
        if not answers_token(self.host, self.port, self.name, timeout_seconds):
            raise EngineError(f"the engine at {self.url} lists {self.name} and gives no token; look at its log")

    def stop(self, grace_seconds: float = 0.0) -> None:
        """Leave it running: it is not ours."""


def address_of(url: str) -> tuple[str, int]:
    """Return host and port of an engine's URL; raises ConfigError."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or parts.path.strip("/"):
        raise ConfigError(f"serve.engines: {url!r} is not http://HOST:PORT; put TLS into a tunnel or a mesh")
    return parts.hostname, parts.port or 80


async def engines_of(urls: list[str], version_id: str) -> list[RemoteEngine]:
    """Return the engines that list a version's id among their models.

    Raises EngineError if there is none, ConfigError for a URL that is none.
    """
    addresses = [address_of(url) for url in urls]
    listed = await asyncio.gather(*(asyncio.to_thread(_models, *address) for address in addresses))
    found = [
        RemoteEngine(version_id, *address)
        for address, names in zip(addresses, listed, strict=True)
        if version_id in names
    ]
    if not found:
        raise EngineError(
            f"none of serve.engines serves {version_id}; start vLLM there with --served-model-name {version_id}"
        )
    return found


def _models(host: str, port: int) -> set[str]:
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/v1/models")
        return {model["id"] for model in json.loads(connection.getresponse().read())["data"]}
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        return set()
    finally:
        connection.close()
