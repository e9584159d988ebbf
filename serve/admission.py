"""Authentication and authorization: decides by a request's head whether its caller may make it.

Everything is refused but what `serve/access/allow_list.py` lists: a path is compared byte by byte as it came, never
decoded or tidied, so there is no second spelling that a check could miss. Decided before the body is read, from
memory alone.
"""

import time

from driftwheel.settings.serving import ServeSettings
from serve.access.allow_list import ROUTES, Openness, Route
from serve.access.caller import ANONYMOUS, NOBODY
from serve.access.key_ring import ApiKeys
from serve.http.messages import Request
from serve.refusals import RequestRefused

FORWARDING = (b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip")
"""Headers with which a proxy says that it asks for somebody else."""


class Admission:
    """Decides who may do what."""

    def __init__(self, serve: ServeSettings, keys: ApiKeys) -> None:
        self._requires_key = serve.require_key
        self._keys = keys

    def decide(self, request: Request) -> None:
        """Note the caller in a request whose head was read; raises RequestRefused."""
        route = ROUTES.get(request.path)
        if request.repeated is not None:
            message = f"the header {request.repeated.decode('latin-1')} came twice; send it once"
            raise RequestRefused(400, message, "repeated_header")
        # Before the route is looked at: a stranger must not learn which routes there are.
        caller = self._keys.identify(request.headers.get(b"authorization", b""), time.time())
        is_open = self._is_open(request, route)
        if caller is None and not is_open:
            message = "missing, unknown, disabled or expired API key; send `Authorization: Bearer KEY`"
            raise RequestRefused(401, message, "invalid_api_key", headers=(("www-authenticate", "Bearer"),))
        if route is None:
            raise RequestRefused(404, f"no such route; there are {', '.join(ROUTES)}", "unknown_route")
        if request.method != route.method:
            message = f"{request.path} takes {route.method}, not {request.method}"
            raise RequestRefused(405, message, "method_not_allowed", headers=(("allow", route.method),))
        if caller is not None and not is_open and route.scope not in caller.scopes:
            message = f"this key has no scope {route.scope.value!r}, which {request.path} needs"
            raise RequestRefused(403, message, "missing_scope")
        # A small compressed body may be a large one, which `serve.max_body_bytes` could not see.
        if request.headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise RequestRefused(415, "a compressed body is not taken; send it as it is", "unsupported_encoding")
        is_trusted = not self._requires_key or self._is_local(request)
        request.caller = caller or (ANONYMOUS if is_trusted else NOBODY)

    def _is_open(self, request: Request, route: Route | None) -> bool:
        """Say whether the route needs no key of this request."""
        if not self._requires_key:
            return True
        if route is None or route.openness == Openness.KEY:
            return False
        return route.openness == Openness.ANYBODY or self._is_local(request)

    @staticmethod
    def _is_local(request: Request) -> bool:
        return request.is_local and not any(name in request.headers for name in FORWARDING)
