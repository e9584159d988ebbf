"""A bearer key becomes the short id under which its requests are logged, or nothing."""

import hashlib
import hmac
import ipaddress
import os
from collections.abc import Iterable, Mapping

from driftwheel.config import ServeSettings
from driftwheel.errors import ConfigError

VARIABLE = "DRIFTWHEEL_API_KEYS"
KEY_ID_DIGITS = 8


class ApiKeys:
    """The keys that may use the gateway; only their hashes are kept."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = [hashlib.sha256(key.strip().encode()).digest() for key in keys if key.strip()]

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "ApiKeys":
        """Read the comma-separated keys of DRIFTWHEEL_API_KEYS."""
        return cls(environ.get(VARIABLE, "").split(","))

    def __bool__(self) -> bool:
        return bool(self._digests)

    def identify(self, authorization: bytes) -> str | None:
        """Return the key id for an Authorization header's value, or None for a missing or unknown key."""
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        digest = hashlib.sha256(token.strip()).digest()
        # Every key is compared, so that the time does not say which one came close.
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        return digest.hex()[:KEY_ID_DIGITS] if any(matches) else None


def check_exposure(serve: ServeSettings, host: str, keys: ApiKeys) -> None:
    """Raise ConfigError if the gateway would answer other machines without a key, or nobody at all."""
    if serve.require_key and not keys:
        raise ConfigError(
            f"serve.require_key is on and {VARIABLE} is empty, so nobody could be answered; "
            f"set {VARIABLE} to one or more keys, separated by commas"
        )
    if not is_loopback(host) and not (serve.require_key and keys):
        raise ConfigError(
            f"serve.host {host} is reachable from other machines and no key is required; "
            f"set {VARIABLE} and serve.require_key, or listen on 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Say whether an address can only be reached from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
