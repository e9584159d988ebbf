"""Authentication and authorization: decides by a request's head whether its caller may make it.

Everything is refused but what `serve/access/allow_list.py` lists: a path is compared byte by byte as it came, never
decoded or tidied, so there is no second spelling that a check could miss. Decided before the body is read, from
memory alone. Here, too, an answer gets the headers that depend on the request's: CORS, and the client's own id.
"""

import time

from driftwheel.settings.serving import ServeSettings
from serve.access.allow_list import ROUTES, Openness, Route, route_near, template_of
from serve.access.caller import ANONYMOUS, NOBODY
from serve.access.cross_origin import CrossOrigin
from serve.access.key_ring import ApiKeys
from serve.http.messages import Request
from serve.refusals import RequestRefused

FORWARDING = (b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip")
"""Headers with which a proxy says that it asks for somebody else."""
CLIENT_IDS = (b"x-client-request-id", b"x-request-id")
"""Headers with an id of the client's own. The first is OpenAI's name for it; proxies and older clients use the second,
which in an answer is the gateway's."""
MAX_ID_CHARACTERS = 512
"""OpenAI's limit."""


class Admission:
    """Decides who may do what."""

    def __init__(self, serve: ServeSettings, keys: ApiKeys) -> None:
        self._requires_key = serve.require_key
        self._keys = keys
        self._cross_origin = CrossOrigin(serve.cors_origins)

    def decide(self, request: Request) -> None:
        """Note the caller in a request whose head was read; raises RequestRefused."""
        self._note_client_id(request)
        if self._cross_origin and b"origin" in request.headers and self._is_preflight(request):
            return
        route = ROUTES.get(template_of(request.path) or "")
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
            near = route_near(request.path)
            hint = f"did you mean {near}? There" if near else "there"
            raise RequestRefused(404, f"no such route; {hint} are {', '.join(ROUTES)}", "unknown_route")
        if request.method != route.method and request.method not in route.methods:
            message = f"{request.path} takes {route.method}, not {request.method}"
            raise RequestRefused(405, message, "method_not_allowed", headers=(("allow", ", ".join(route.methods)),))
        if caller is not None and not is_open and route.scope not in caller.scopes:
            message = f"this key has no scope {route.scope.value!r}, which {request.path} needs"
            raise RequestRefused(403, message, "missing_scope")
        # A small compressed body may be a large one, which `serve.max_body_bytes` could not see.
        coding = request.headers.get(b"content-encoding", b"identity").lower()
        if coding != b"identity":
            message = f"a body compressed with {coding.decode('latin-1')} is not taken; send it as it is"
            as_it_is = (("accept-encoding", "identity"),)
            raise RequestRefused(415, message, "unsupported_encoding", headers=as_it_is)
        if request.method == "OPTIONS":
            request.answer_headers += (("allow", ", ".join(route.methods)),)
        is_trusted = not self._requires_key or self._is_local(request)
        request.caller = caller or (ANONYMOUS if is_trusted else NOBODY)

    @staticmethod
    def _note_client_id(request: Request) -> None:
        """Give the client its own id back beside the gateway's; one that is too long or odd for a header is left."""
        for name in CLIENT_IDS:
            if name in request.headers:
                text = request.headers[name].decode("latin-1")
                if 0 < len(text) <= MAX_ID_CHARACTERS and text.isascii() and text.isprintable():
                    request.client_id = text
                    request.answer_headers += (("x-client-request-id", text),)
                    return

    def _is_preflight(self, request: Request) -> bool:
        """Let the request's page read its answer, and say whether it only asks if it may; raises RequestRefused."""
        if request.method == "OPTIONS" and b"access-control-request-method" in request.headers:
            request.answer_headers += self._cross_origin.preflight_headers(request.headers)
            return True
        request.answer_headers += self._cross_origin.headers_for(request.headers[b"origin"])
        return False

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
