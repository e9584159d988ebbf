"""Settings that are secrets: shown and written as asterisks, unless a child process that needs them is started.

A database's URL may have a password in it, and a grader's URL a token.
"""

from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from pydantic import PlainSerializer, SecretStr, SerializationInfo

REVEALED = "secrets are revealed"
"""Context of a dump that keeps secrets: what a child that needs them is handed in its environment, and nothing else."""


def _dumped(secret: SecretStr | None, info: SerializationInfo) -> str | None:
    if secret is None:
        return None
    return secret.get_secret_value() if info.context == REVEALED else str(secret)


Secret = Annotated[SecretStr, PlainSerializer(_dumped, when_used="json")]
"""A text that no log, file, command line or error message shows."""
SECRETS = {"storage": {"database_url"}, "evaluate": {"grader_url"}}
"""Sections with their fields that are secrets: left out where settings are written into a file."""


def is_secret(*keys: str) -> bool:
    """Say whether a setting is one of these."""
    return len(keys) >= 2 and keys[1] in SECRETS.get(keys[0], ())


def tells_a_secret(url: str) -> bool:
    """Say whether a URL holds a password, or anything after its `?` that could be a token."""
    try:
        parts = urlsplit(url)
        return parts.password is not None or (bool(parse_qsl(parts.query)) and parts.scheme.startswith("http"))
    except ValueError:  # no URL at all: nobody knows what it is
        return True


def without_user(url: str | None, key: str, variable: str | None) -> str | None:
    """Return a URL that is no secret; raises ValueError for one with a password, and says where that belongs."""
    if url is not None and "@" in url and tells_a_secret(url):
        where = f"; its key belongs into the environment variable {variable}" if variable else ""
        raise ValueError(f"{key} must hold no password, because it is shown and logged{where}")
    return url
