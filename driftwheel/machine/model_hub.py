"""Whether the model hub can be reached from here, so that a machine without it is told at once.

Its own client tries every file six times with growing pauses: half a minute each, and minutes for one command.
"""

import os
import ssl
import time
import urllib.error
import urllib.request
from functools import lru_cache
from pathlib import Path

DEFAULT_ENDPOINT = "https://huggingface.co"
SECONDS = 5.0
"""To wait for the answer to one small question."""
REMEMBERED_SECONDS = 60
"""A worker that runs for weeks asks again, so that a short failure of the network does not stay with it."""
YES = {"1", "ON", "YES", "TRUE"}


def why_unreachable() -> str | None:
    """Return why nothing answers at the hub's address (`HF_ENDPOINT`), or None where something does.

    A refusal is an answer. None, too, where `HF_HUB_OFFLINE` is set: then the hub's client asks nobody.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in YES:
        return None
    return _asked(endpoint(), int(time.monotonic() // REMEMBERED_SECONDS))


def endpoint() -> str:
    """Return the address of the hub."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or DEFAULT_ENDPOINT


def is_cached(name: str) -> bool:
    """Ask whether some revision of a model of the hub lies in its cache on this machine."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    cache = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")
    return any((cache / f"models--{name.replace('/', '--')}" / "snapshots").glob("*/config.json"))


@lru_cache(maxsize=8)
def _asked(address: str, _moment: int) -> str | None:
    """Ask once a moment; a proxy of the environment is used, as the hub's client does."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=SECONDS):
            return None
    except urllib.error.HTTPError:
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        # Its client may know the certificate of a company's proxy by settings that this one does not read.
        return None if isinstance(reason, ssl.SSLError) else str(reason)
