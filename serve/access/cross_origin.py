"""CORS: which web pages of other origins may ask the gateway, as browsers want it said (fetch.spec.whatwg.org, CORS).

A browser asks before the real request (the preflight), and then without the key: so that one request needs none, and
learns nothing but that its page is on the list.
"""

import re
from collections.abc import Collection, Mapping

from serve.refusals import RequestRefused

EVERY_ORIGIN = "*"
MAX_AGE_SECONDS = 600
"""How long a browser need not ask again; Chromium takes two hours at most."""
EXPOSED = (
    "x-request-id, x-client-request-id, x-driftwheel-version, retry-after, x-ratelimit-limit-requests, "
    "x-ratelimit-remaining-requests, x-ratelimit-reset-requests, x-ratelimit-limit-tokens, "
    "x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens"
)
"""What a page may read of an answer. By name, because `*` means no header in an older browser."""
_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+(?:[ \t]*,[ \t]*[A-Za-z0-9!#$%&'*+.^_`|~-]+)*")

Headers = tuple[tuple[str, str], ...]


class CrossOrigin:
    """The origins whose pages may ask."""

    def __init__(self, origins: Collection[str]) -> None:
        """Take origins as browsers write them (`https://app.example`), or `*` for all."""
        self._origins = frozenset(origins)

    def __bool__(self) -> bool:
        return bool(self._origins)

    def headers_for(self, origin: bytes) -> Headers:
        """Return the headers that let a page read an answer; none if its origin is not on the list."""
        if EVERY_ORIGIN in self._origins:
            allowed: Headers = (("access-control-allow-origin", EVERY_ORIGIN),)
        elif origin.decode("latin-1") in self._origins:
            allowed = (("access-control-allow-origin", origin.decode("latin-1")), ("vary", "origin"))
        else:
            return ()
        return (*allowed, ("access-control-expose-headers", EXPOSED))

    def preflight_headers(self, headers: Mapping[bytes, bytes]) -> Headers:
        """Return what a preflight is answered; raises RequestRefused (403) if its origin is not on the list.

        Every method and header that is asked for is allowed: what a request may do is for its key to say, not for its
        page. Official clients send a dozen headers of their own, which differ from version to version.
        """
        allowed = self.headers_for(headers[b"origin"])
        if not allowed:
            message = f"pages of {headers[b'origin'].decode('latin-1')} may not ask; serve.cors_origins lists who may"
            raise RequestRefused(403, message, "origin_not_allowed")
        asked = headers.get(b"access-control-request-headers", b"").decode("latin-1")
        named: Headers = (("access-control-allow-headers", asked),) if _NAMES.fullmatch(asked) else ()
        age = ("access-control-max-age", str(MAX_AGE_SECONDS))
        return (*allowed, ("access-control-allow-methods", "GET, HEAD, POST, OPTIONS"), *named, age)
