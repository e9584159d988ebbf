"""Authorization cases: routes, methods, keys and spellings, each with the status it must get.

The oracle is the literal table here. It shares nothing with serve/: what may be asked is written down a second time.
"""

import importlib.util
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

MAY = {
    b"/v1/chat/completions": (b"POST", "ask"),
    b"/v1/completions": (b"POST", "ask"),
    b"/v1/responses": (b"POST", "ask"),
    b"/v1/embeddings": (b"POST", "ask"),
    b"/v1/models": (b"GET", "ask"),
    b"/v1/models/bench": (b"GET", "ask"),
    b"/v1/feedback": (b"POST", "feedback"),
    b"/v1/hooks/alertmanager": (b"POST", "operate"),
    b"/openapi.json": (b"GET", "read"),
    b"/healthz": (b"GET", "anybody"),
    b"/readyz": (b"GET", "anybody"),
    b"/metrics": (b"GET", "read, or this machine"),
    b"/metrics/engines": (b"GET", "read, or this machine"),
}
"""Path, method and what it needs: all that may ever be reached."""
ENGINE_TARGETS = {b"POST /v1/chat/completions", b"POST /v1/completions", b"POST /v1/responses", b"POST /v1/embeddings"}
"""All that an engine may ever be asked."""
SCOPES = {
    "none": set(),
    "unknown": set(),
    "disabled": set(),
    "expired": set(),
    "rotated away": set(),
    "ask": {"ask"},
    "feedback": {"feedback"},
    "operate": {"operate"},
    "read": {"read"},
    "label": {"feedback"},
    "label:trusted": {"feedback"},
    "right": {"ask", "feedback", "operate", "read"},
    "in its grace": {"ask", "feedback", "operate", "read"},
}
"""Key states and what each is good for."""
METHODS = tuple(b"GET POST PUT PATCH DELETE HEAD OPTIONS TRACE CONNECT PROPFIND SEARCH get post Post".split())
TRICKS: dict[str, str] = {
    "plain": "{p}",
    "query": "{p}?a=b",
    "empty query": "{p}?",
    "query with path": "{p}?/../healthz",
    "key in query": "{p}?api_key={key}",
    "slash": "{p}/",
    "slashes": "{p}//",
    "double slash": "/{p}",
    "triple slash": "//{p}",
    "double inside": "{double}",
    "dot": "/.{p}",
    "dot at end": "{p}/.",
    "dots at end": "{p}/..",
    "up from open": "/healthz/..{p}",
    "up from open, coded": "/healthz/%2e%2e{p}",
    "up, coded slash": "/healthz/..%2f{q}",
    "up, mixed": "/healthz/.%2e{p}",
    "below open": "/healthz{p}",
    "below metrics": "/metrics/..{p}",
    "parameter on open": "/healthz;/..{p}",
    "semicolon": "{p};a=b",
    "coded semicolon": "{p}%3b",
    "upper": "{upper}",
    "title": "{title}",
    "coded letter": "{coded}",
    "coded twice": "{twice}",
    "coded all": "{all}",
    "coded slash": "/%2f{q}",
    "coded slashes": "{slashes}",
    "NUL": "{p}\x00",
    "coded NUL": "{p}%00",
    "NUL and tail": "{p}\x00.json",
    "coded CRLF": "{p}%0d%0a",
    "CRLF": "{p}\r\nx: y",
    "backslash": "{back}",
    "backslash first": "\\{q}",
    "coded backslash": "%5c{q}",
    "up by backslash": "/healthz/..\\{q}",
    "fragment": "{p}#f",
    "fragment first": "/healthz#{p}",
    "query first": "/healthz?{p}",
    "absolute": "http://127.0.0.1{p}",
    "absolute, other host": "http://evil.example{p}",
    "absolute, user": "http://healthz@127.0.0.1{p}",
    "no slash": "{q}",
    "dot after": "{p}.",
    "dots after": "{p}..",
    "extension": "{p}.json",
    "space after": "{p} ",
    "coded space": "{p}%20",
    "tab": "{p}\t",
    "wide slash": "{wide}",
    "roman letter": "{roman}",
    "overlong": "/%c0%af{q}",
    "overlong dots": "/healthz/%c0%ae%c0%ae{p}",
    "zero width": "{p}\u200b",
    "star": "*",
    "nothing": "",
    "tilde": "/~{p}",
    "twice": "{p}{p}",
    "version up": "/v1/../{q}",
    "utf-7": "+AC8{q}",
    "jsession": "{p};jsessionid=1",
    "pipe": "{p}|",
}
"""Spellings of a path: {p} itself, {q} without its first slash."""


HOSTS = (b"127.0.0.1", b"evil.example")
"""Those of the absolute targets; the one with a user before it is no host."""


@dataclass(frozen=True)
class Headers:
    """Header lines that try something; {key} stands for a key that may do everything, {bad} for an unknown one."""

    lines: tuple[str, ...] = ()
    is_forwarded: bool = False
    is_refused: bool = False


HEADERS: dict[str, Headers] = {
    "none": Headers(),
    "host evil": Headers(("host: evil.example",)),
    "host metrics": Headers(("host: 127.0.0.1/metrics",)),
    "no host value": Headers(("host:",)),
    "two hosts": Headers(("host: 127.0.0.1", "host: evil.example"), is_refused=True),
    "original url": Headers(("x-original-url: /healthz",)),
    "rewrite url": Headers(("x-rewrite-url: /healthz",)),
    "original url of a route": Headers(("x-original-url: /v1/models",)),
    "forwarded for": Headers(("x-forwarded-for: 127.0.0.1",), is_forwarded=True),
    "forwarded for, upper": Headers(("X-FORWARDED-FOR: 127.0.0.1",), is_forwarded=True),
    "real ip": Headers(("x-real-ip: 127.0.0.1",), is_forwarded=True),
    "forwarded": Headers(("forwarded: for=127.0.0.1;proto=https",), is_forwarded=True),
    "via": Headers(("via: 1.1 proxy",), is_forwarded=True),
    "forwarded host": Headers(("x-forwarded-host: localhost",), is_forwarded=True),
    "forwarded prefix": Headers(("x-forwarded-prefix: /healthz",)),
    "client ip": Headers(("x-client-ip: 127.0.0.1", "true-client-ip: 127.0.0.1")),
    "method override": Headers(("x-http-method-override: GET", "x-method-override: GET")),
    "method override post": Headers(("x-http-method: POST", "x-http-method-override: POST")),
    "x-api-key": Headers(("x-api-key: {key}", "api-key: {key}")),
    "cookie": Headers(("cookie: authorization=Bearer {key}; api_key={key}",)),
    "proxy authorization": Headers(("proxy-authorization: Bearer {key}",)),
    "two keys, good last": Headers(("authorization: Bearer {bad}", "authorization: Bearer {key}"), is_refused=True),
    "two keys, good first": Headers(("authorization: Bearer {key}", "authorization: Bearer {bad}"), is_refused=True),
    "two keys, case": Headers(("Authorization: Bearer {key}", "AUTHORIZATION: Bearer {bad}"), is_refused=True),
    "space before colon": Headers(("authorization : Bearer {key}",), is_refused=True),
    "folded": Headers(("x-a: b", " authorization: Bearer {key}"), is_refused=True),
    "hop by hop": Headers(("connection: keep-alive, authorization",)),
    "underscore": Headers(("http_authorization: Bearer {key}",)),
    "length and chunks": Headers(("content-length: 3", "transfer-encoding: chunked"), is_refused=True),
    "two lengths": Headers(("content-length: 2", "content-length: 3"), is_refused=True),
    "compressed": Headers(("content-encoding: gzip",), is_refused=True),
}


@dataclass(frozen=True)
class Case:
    """One request and whether it may be reached."""

    method: bytes
    path: bytes
    trick: str
    key_state: str
    headers: str
    is_local: bool

    def target(self, key: str) -> bytes:
        """Return the request target."""
        return spell(TRICKS[self.trick], self.path.decode(), key)

    @property
    def spelled(self) -> bytes:
        """The path as a reader of HTTP sees it: after the host of an absolute target, before the query, and without
        the spaces that may precede the version."""
        target = self.target("").partition(b"?")[0].rstrip(b" ")
        host = next((h for h in HOSTS if target.startswith(b"http://" + h + b"/")), None)
        return target if host is None else target[len(b"http://" + host) :]

    @property
    def is_allowed(self) -> bool:
        """Say what must happen, from the tables above alone."""
        tricks = HEADERS[self.headers]
        if self.spelled not in MAY or tricks.is_refused:
            return False
        method, needs = MAY[self.spelled]
        if method != self.method and (method, self.method) != (b"GET", b"HEAD"):
            return False
        if needs == "anybody":
            return True
        scope = needs.partition(",")[0]
        is_near = needs != scope and self.is_local and not tricks.is_forwarded
        return is_near or scope in SCOPES[self.key_state]


def spell(trick: str, path: str, key: str) -> bytes:
    """Write a path in one of the spellings."""
    coded = "".join(f"%{ord(c):02x}" for c in path)
    return trick.format(
        p=path,
        q=path[1:],
        key=key,
        upper=path.upper(),
        title=path.title(),
        all=coded,
        double=path[0] + path[1:].replace("/", "//"),
        coded=f"/%{ord(path[1]):02x}{path[2:]}",
        twice=f"/%25{ord(path[1]):02x}{path[2:]}",
        slashes=path.replace("/", "%2f"),
        back=path.replace("/", "\\"),
        wide=path.replace("/", "\uff0f"),
        roman=path.replace("v", "\u2174", 1),
    ).encode()


def vllm_routes() -> list[tuple[bytes, bytes]]:
    """Return method and path of every route in the sources of the installed vLLM, without importing it."""
    found = set()
    spec = importlib.util.find_spec("vllm")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for file in (Path(folder) / "entrypoints").rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            for method, path in re.findall(r'@\w*(?:router|app)\.(\w+)\(\s*"(/[^"]+)"', text):
                found.add((method.upper().encode(), path.encode()))
            found |= {(b"POST", path.encode()) for path in re.findall(r'add_api_route\(\s*"(/[^"]+)"', text)}
    extra = {(b"POST", b"/adapters"), (b"GET", b"/openapi.json"), (b"GET", b"/redoc"), (b"GET", b"/docs")}
    known = {(method, path) for method, path in found | extra if method in METHODS}
    return sorted(known)


def cases(count: int, seed: int, live_routes: Sequence[str], *, has_far_address: bool) -> Iterator[Case]:
    """Give at least `count` cases: all with at most one trick, then seeded combinations."""
    draw = random.Random(seed)
    near = (True, False) if has_far_address else (True,)
    live = sorted({path.encode() for path in live_routes} | set(MAY))
    engine_routes = vllm_routes()
    usual_methods = {path: method for method, path in engine_routes} | {path: MAY[path][0] for path in MAY}
    plain = [
        Case(method, path, "plain", state, "none", is_local)
        for path in live
        for method in METHODS
        for state in SCOPES
        for is_local in near
    ]
    plain += [
        Case(method, path, "plain", state, "none", is_local)
        for method, path in engine_routes
        for state in ("none", "ask", "right")
        for is_local in near
    ]
    plain += [
        Case(MAY[path][0] if path in MAY else b"POST", path, trick, state, headers, is_local)
        for path in live
        for state in ("none", "right")
        for is_local in near
        for trick, headers in [*((trick, "none") for trick in TRICKS), *(("plain", name) for name in HEADERS)]
    ]
    if count < len(plain):
        plain = draw.sample(plain, count // 2)
    yield from plain
    paths = [*live] * 6 + [path for _, path in engine_routes]
    for _ in range(max(0, count - len(plain))):
        path = draw.choice(paths)
        yield Case(
            usual_methods.get(path, b"GET") if draw.random() < 0.6 else draw.choice(METHODS),
            path,
            "plain" if draw.random() < 0.3 else draw.choice(list(TRICKS)),
            "right" if draw.random() < 0.3 else draw.choice(list(SCOPES)),
            draw.choice(list(HEADERS)),
            draw.choice(near),
        )
