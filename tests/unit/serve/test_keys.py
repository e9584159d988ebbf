"""Known keys have an id, unknown ones none, and nobody is served from afar without one."""

import hashlib
from contextlib import nullcontext

import pytest

from driftwheel.config import ServeSettings
from driftwheel.errors import ConfigError
from serve.keys import ApiKeys, check_exposure

KEY_ID = hashlib.sha256(b"k2").hexdigest()[:8]


@pytest.mark.parametrize(
    ("header", "key_id"),
    [(b"Bearer k2", KEY_ID), (b"bearer  k2 ", KEY_ID), (b"Bearer k3", None), (b"k2", None), (b"", None)],
    ids=["known", "case-and-space", "unknown", "no-scheme", "missing"],
)
def test_a_header_names_its_key(header: bytes, key_id: str | None) -> None:
    assert ApiKeys.from_environment({"DRIFTWHEEL_API_KEYS": "k1, k2,"}).identify(header) == key_id


@pytest.mark.parametrize(
    ("host", "require_key", "keys", "is_refused"),
    [
        ("127.0.0.1", True, ["k"], False),
        ("127.0.0.1", False, [], False),
        ("localhost", True, [], True),
        ("0.0.0.0", True, ["k"], False),
        ("0.0.0.0", False, ["k"], True),
        ("::", False, [], True),
    ],
)
def test_exposure_needs_keys(host: str, require_key: bool, keys: list[str], is_refused: bool) -> None:
    with pytest.raises(ConfigError) if is_refused else nullcontext():
        check_exposure(ServeSettings(require_key=require_key), host, ApiKeys(keys))
