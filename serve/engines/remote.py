"""Engines elsewhere (vLLM on another host, Ray Serve, KServe): found by the version that they list, never started."""

import asyncio
import http.client
import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from driftwheel.errors import ConfigError, EngineError
from driftwheel.records.nouns import ModelVersion
from driftwheel.settings.serving import ServeSettings
from serve.engines.adapters import StartEngine
from serve.engines.liveness import answers_token

TIMEOUT_SECONDS = 5.0
"""For a list of names; an engine that is slower is as good as absent, and is asked again."""


@dataclass(frozen=True)
class RemoteEngine:
    """An engine that somebody else starts and stops."""

    name: str
    host: str
    port: int
    way: ClassVar[str] = "engine elsewhere"

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


class RemoteLauncher:
    """Finds a version's engines among `serve.engines`; a place is the URL of one."""

    def __init__(self, serve: ServeSettings, logs: Path, start: StartEngine) -> None:
        """Take the URLs of the settings; nothing is started."""
        self._urls = serve.engines

    @classmethod
    def takes(cls, serve: ServeSettings) -> bool:
        """Say whether the settings name engines."""
        return bool(serve.engines)

    @property
    def engines_per_version(self) -> int:
        """All that the settings name; those that do not list the version are asked again and again."""
        return len(self._urls)

    def check(self, version: ModelVersion) -> None:
        """Accept it: the bytes are elsewhere, and the proof is all there is."""

    def needs_start(self, version: ModelVersion) -> bool:
        """Say yes: whoever runs them may need the old version's room."""
        return True

    async def places(self, version: ModelVersion) -> list[str]:
        """Return the URLs of the engines that list a version's id among their models.

        Raises EngineError if there is none, ConfigError for a URL that is none.
        """
        addresses = [address_of(url) for url in self._urls]
        listed = await asyncio.gather(*(asyncio.to_thread(_models, *address) for address in addresses))
        found = [url for url, names in zip(self._urls, listed, strict=True) if version.id in names]
        if not found:
            raise EngineError(
                f"none of serve.engines serves {version.id}; start vLLM there with --served-model-name {version.id}"
            )
        return found

    def launch(self, version: ModelVersion, place: str) -> RemoteEngine:
        """Return the engine at a URL."""
        return RemoteEngine(version.id, *address_of(place))


def _models(host: str, port: int) -> set[str]:
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/v1/models")
        return {model["id"] for model in json.loads(connection.getresponse().read())["data"]}
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        return set()
    finally:
        connection.close()
