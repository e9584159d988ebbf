"""The official client for endpoints of our own, deaf to the environment's proxies, keys and headers.

`http_proxy` would send loopback's requests away, and OPENAI_ORG_ID or OPENAI_CUSTOM_HEADERS belong to somebody else's
account: the last one even replaces the key that was given. An endpoint elsewhere, such as a model that judges, may need
the machine's proxy, and keeps it.
"""

import ipaddress
from urllib.parse import urlsplit

import httpx2
from openai import AsyncOpenAI, DefaultAsyncHttpxClient


def client_of(url: str, api_key: str, *, timeout_seconds: float, max_retries: int = 2) -> AsyncOpenAI:
    """Return a client for the API below a base URL without `/v1`."""
    http_client = _own_http_client(api_key, timeout_seconds) if is_own(url) else None
    return AsyncOpenAI(
        base_url=f"{url.rstrip('/')}/v1",
        api_key=api_key,
        timeout=timeout_seconds,
        max_retries=max_retries,
        http_client=http_client,
    )


def is_own(url: str) -> bool:
    """Say whether an endpoint is on this machine: the loop's engines and its gateway are."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _own_http_client(api_key: str, timeout_seconds: float) -> httpx2.AsyncClient:
    async def clean(request: httpx2.Request) -> None:
        # The client reads these variables in its constructor, where an argument of None means the environment.
        request.headers["authorization"] = f"Bearer {api_key}"
        for name in ("openai-organization", "openai-project"):
            request.headers.pop(name, None)

    return DefaultAsyncHttpxClient(trust_env=False, timeout=timeout_seconds, event_hooks={"request": [clean]})
