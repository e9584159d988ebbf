"""The dashboard's door: who may come in, under which name the dashboard is called, and from which page.

A page of another site must read and press nothing. It can make a browser ask any address, so that being on this
machine protects nobody: by a name of its own that it lets point here (DNS rebinding), or from its own origin. The one
is known by the Host header, the other by Origin; both are looked at before anything else, for pages and sockets alike.
"""

import ipaddress
from collections.abc import Collection
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboard.sign_in import CALLER_HEADER, PAGE_HEADERS, SESSION_HOURS, Sessions, sign_in_page
from driftwheel.callers.exposure import is_loopback
from driftwheel.identity import utc_now

HEALTH = "/_stcore/health"
"""A probe learns from it whether the process lives, and no more."""
LONGEST_FORM_BYTES = 4096
SAFE_HEADERS = {
    "content-security-policy": "frame-ancestors 'self'",
    "x-frame-options": "SAMEORIGIN",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}
"""No other site may show the dashboard in a frame, where it could lead a person's clicks."""
FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


def why_strange(headers: Headers, names: Collection[str]) -> str | None:
    """Say why a request cannot be of a person who looks at the dashboard: the name it asks for, or the page it is of.

    An address that is a number cannot be rebound, and always is the dashboard's own.
    """
    host = headers.get("host", "")
    name = _name_in(host)
    if name is None or not (is_loopback(name) or _is_number(name) or name in names):
        return f"{name or 'no name'} is not the dashboard's name; dashboard.allowed_hosts lists what it is called"
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        return "pages of another origin may not ask the dashboard"
    if headers.get("sec-fetch-site") in ("cross-site", "same-site") and headers.get("sec-fetch-mode") != "navigate":
        return "pages of another origin may not ask the dashboard"
    return None


class Door:
    """Lets in who may come in, and says who it is."""

    def __init__(self, app: ASGIApp, names: Collection[str], sessions: Sessions | None) -> None:
        """Guard an application that is called by these names; without sessions nobody is asked for a key."""
        self._app, self._sessions = app, sessions
        self._names = {name.lower() for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if (reason := why_strange(headers, self._names)) is not None:
            await _refuse(scope, receive, send, 403, reason)
        elif self._sessions is None and any(name in headers for name in FORWARDED):
            reason = "this request came through a proxy, and no key is asked for; set dashboard.require_key"
            await _refuse(scope, receive, send, 403, reason)
        elif self._sessions is None or scope["path"] == HEALTH:
            await self._hand_on(scope, receive, send, None)
        else:
            await self._ask_for_key(self._sessions, scope, receive, send)

    async def _ask_for_key(self, sessions: Sessions, scope: Scope, receive: Receive, send: Send) -> None:
        token = HTTPConnection(scope).cookies.get(sessions.cookie, "")
        if scope["type"] == "http" and scope["path"] in ("/login", "/logout"):
            answer = await _sign_in_or_out(sessions, Request(scope, receive), token)
            await answer(scope, receive, send)
            return
        holder = await run_in_threadpool(sessions.holder, token, utc_now())
        if holder is not None:
            await self._hand_on(scope, _while_good(sessions, token, scope, receive, send), send, holder.id)
        elif scope["type"] == "http" and "text/html" in Headers(scope=scope).get("accept", ""):
            await HTMLResponse(sign_in_page(), 401, PAGE_HEADERS)(scope, receive, send)
        else:
            await _refuse(scope, receive, send, 401, "sign in first")

    async def _hand_on(self, scope: Scope, receive: Receive, send: Send, caller: str | None) -> None:
        name = CALLER_HEADER.encode()
        told = [(name, caller.encode())] if caller is not None else []
        known = {**scope, "headers": [*(pair for pair in scope["headers"] if pair[0].lower() != name), *told]}

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for header, value in SAFE_HEADERS.items():
                    headers.setdefault(header, value)
            await send(message)

        await self._app(known, receive, send_safely)


async def _sign_in_or_out(sessions: Sessions, request: Request, token: str) -> Response:
    if request.url.path == "/logout":
        sessions.sign_out(token)
        answer: Response = RedirectResponse("/", 303)
        answer.delete_cookie(sessions.cookie)
        return answer
    if request.method != "POST":
        return HTMLResponse(sign_in_page(), 200, PAGE_HEADERS)
    key = await _key_in(request)
    new = await run_in_threadpool(sessions.sign_in, key, utc_now()) if key else None
    if new is None:
        said = "This key is not good here: it is unknown, has ended, or has none of these scopes."
        return HTMLResponse(sign_in_page(said), 403, PAGE_HEADERS)
    answer = RedirectResponse("/", 303)
    age, is_https = SESSION_HOURS * 3600, request.url.scheme == "https"
    answer.set_cookie(sessions.cookie, new, max_age=age, httponly=True, samesite="lax", secure=is_https)
    return answer


async def _key_in(request: Request) -> str:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LONGEST_FORM_BYTES:
            return ""
    return parse_qs(body.decode("utf-8", "replace")).get("key", [""])[0].strip()


def _while_good(sessions: Sessions, token: str, scope: Scope, receive: Receive, send: Send) -> Receive:
    """Return how a socket is read: it ends with the first message after its session or key has ended."""
    if scope["type"] != "websocket":
        return receive

    async def receive_while_good() -> Message:
        message = await receive()
        if message["type"] != "websocket.receive":
            return message
        holder = await run_in_threadpool(sessions.holder, token, utc_now())
        if holder is not None:
            return message
        await send({"type": "websocket.close", "code": 1008})
        return {"type": "websocket.disconnect", "code": 1008}

    return receive_while_good


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, reason: str) -> None:
    if scope["type"] == "websocket":
        await receive()  # its request to connect
        await send({"type": "websocket.close", "code": 1008, "reason": HTTPStatus(status).phrase})
        return
    await PlainTextResponse(reason, status, PAGE_HEADERS)(scope, receive, send)


def _name_in(host: str) -> str | None:
    """Return the name in a Host header's value, without its port; None for what is no host."""
    try:
        parts: Any = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    is_plain = not (parts.path or parts.query or parts.fragment or parts.username)
    return (parts.hostname or "").rstrip(".") or None if is_plain else None


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
