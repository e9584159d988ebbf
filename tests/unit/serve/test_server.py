"""What keeps the gateway's process from starting is one clear error."""

import asyncio
import socket

import pytest

from driftwheel.errors import ConfigError, ConflictError
from driftwheel.settings.serving import ServeSettings
from driftwheel.settings.settings import Settings
from serve.server import serve


def with_serve(settings: Settings, **changes: object) -> Settings:
    return settings.model_copy(update={"serve": ServeSettings(**{"alias": "support", **changes})})


def test_a_taken_port_is_named(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConflictError, match=rf"127\.0\.0\.1:{port}.*serve\.port"):
            asyncio.run(serve(with_serve(settings, port=port, require_key=False)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"require_key": True}, "keys create"), ({"require_key": False, "host": "0.0.0.0"}, "0.0.0.0")],
    ids=["a key is required and there is none", "open to other machines without a key"],
)
def test_an_unsafe_start_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], words: str
) -> None:
    monkeypatch.delenv("DRIFTWHEEL_API_KEYS", raising=False)
    with pytest.raises(ConfigError, match=words):
        asyncio.run(serve(with_serve(settings, port=0, **changes)))
