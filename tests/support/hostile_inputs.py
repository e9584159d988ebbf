"""Hostile requests from a seed: drawn by schemathesis and hypothesis, then each sent in several bent forms.

The draws know the gateway's OpenAPI document, JSON and HTTP; the forms break bodies, framing, headers and paths.
"""

import json
import random
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.support.auth_cases import HEADERS, TRICKS, spell

FORMS = 10
"""In how many forms each draw is sent."""
ENGINE_PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings")
PATHS = (*ENGINE_PATHS, "/v1/feedback", "/v1/hooks/alertmanager", "/v1/models", "/healthz", "/metrics", "/openapi.json")
FIELDS = (
    "messages",
    "prompt",
    "input",
    "stream",
    "stream_options",
    "n",
    "max_tokens",
    "stop",
    "user",
    "metadata",
    "tools",
    "logprobs",
    "temperature",
    "model",
    "request_id",
    "thumb",
    "label",
    "correction",
    "alerts",
    "guided_json",
    "background",
    "response_format",
    "",
)
SCALARS = (
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"-1e-999",
    b"9" * 400,
    b"9" * 5000,
    b'"\\ud800"',
    b'"\\udfff\\ud800"',
    b'"\\u0000"',
    b'"\xff\xfe"',
    b'"\xed\xa0\x80"',
    b'"' + b"a" * 70_000 + b'"',
    b"null",
    b"[]",
    b"{}",
    b"01",
    b"+1",
    b"'x'",
    b"tru",
    b'"\x00"',
    b'"\t"',
    b"\xc2\xa0",
    b"// x\n1",
    b"-0",
    b'{"":{"":[]}}',
)
_SCALAR = re.compile(rb'"[^"\\]{0,40}"(?=\s*[,}\]])|-?\d[\d.eE+-]*|true|false|null')
ODD_LINES = (
    b"x: \x00",
    b"x: \xff\xfe",
    b"\xff: x",
    b": x",
    b"x",
    b" x: y",
    b"x : y",
    b"x:\ty",
    b"x: a\r y",
    b"x: a\n b",
    b"content-length: -1",
    b"content-length: +5",
    b"content-length: 0x5",
    b"content-length: 5, 5",
    b"content-length: 99999999999999999999",
    b"content-length: ",
    b"content-length: 5 ",
    b"Content_Length: 3",
    b"transfer-encoding: identity",
    b"transfer-encoding: chunked, identity",
    b"transfer-encoding: xchunked",
    b"transfer-encoding : chunked",
    b"transfer-encoding:\x0bchunked",
    b"Transfer-Encoding: CHUNKED",
    b"transfer-encoding: gzip, chunked",
    b"expect: 100-continue",
    b"expect: 200-ok",
    b"connection: close",
    b"connection: upgrade\r\nupgrade: websocket",
    b"connection: upgrade\r\nupgrade: h2c",
    b"connection: \x00",
    b"content-encoding: identity",
    b"content-encoding: br",
    b"content-type: text/plain",
    b"host: a\r\nhost: b",
    b"x-request-id: ../../etc/passwd",
    b"x-request-id: a\r\n",
    b"cookie: " + b"c" * 9000,
    b"te: trailers",
    b"range: bytes=0-",
    b"if-none-match: *",
    b"trailer: authorization",
    b"authorization: Basic Og==",
    b"x: " + b"y" * 66_000,
)
CHUNK_TRICKS = (
    b"5\r\nabc\r\n0\r\n\r\n",
    b"-1\r\n\r\n",
    b"fffffffffffffffff\r\n",
    b"0x5\r\nabcde\r\n0\r\n\r\n",
    b"\r\n",
    b"g\r\n",
    b"5 \r\nabcde\r\n0\r\n\r\n",
    b"5;a\nb\r\nabcde\r\n0\r\n\r\n",
    b"5\nabcde\n0\n\n",
    b"2\r\n{}\r\n0\r\nx: \x00\r\n\r\n",
    b"2\r\n{}X\r\n0\r\n\r\n",
    b"2\r\n{}\r\n0\r\nauthorization: x\r\ncontent-length: 9\r\n\r\n",
    b"00000000000000002\r\n{}\r\n0\r\n\r\n",
    b"2\r\n{}\r\n0\r\n" + b"t: v\r\n" * 200 + b"\r\n",
)


@dataclass(frozen=True)
class Input:
    """Bytes for a connection; those that are whole requests of good form may share one."""

    data: bytes
    path: str
    is_framed: bool


@dataclass(frozen=True)
class Draw:
    """What was drawn: a request that is a hostile one as it stands."""

    method: str
    path: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


def draws(count: int, number: int, document: dict[str, Any]) -> list[Draw]:
    """Draw about `count` requests with a seed."""
    found = _from_document(count // 5, number, document)
    found += _drawn(_json_draw(), max(1, count // 2), number)
    return found + _drawn(_http_draw(), max(1, count - len(found)), number)


def _drawn(strategy: SearchStrategy[Draw], count: int, number: int) -> list[Draw]:
    found: list[Draw] = []

    @seed(number)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(one: Draw) -> None:
        found.append(one)

    collect()
    return found


def _from_document(count: int, number: int, document: dict[str, Any]) -> list[Draw]:
    """Draw what schemathesis makes of the OpenAPI document, in keeping with it and against it."""
    import schemathesis
    from schemathesis.core.result import Ok

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        paths = schemathesis.openapi.from_dict(document).get_all_operations()
        operations = [found.ok() for found in paths if isinstance(found, Ok)]
        assert operations, "no path of the OpenAPI document can be read"
        modes = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
        tries = [(operation, mode) for operation in operations if operation.body for mode in modes]
        found: list[Draw] = []
        for operation, mode in tries:
            strategy = operation.as_strategy(generation_mode=mode).map(_from_case)
            found += _drawn(strategy, max(1, count // len(tries)), number)
    return found


def _from_case(case: Any) -> Draw:
    body = case.body
    if not isinstance(body, bytes):
        body = json.dumps(body, default=str).encode() if isinstance(body, dict | list | str | int | float) else b""
    return Draw(case.method, case.formatted_path, (), body)


def _json_draw() -> SearchStrategy[Draw]:
    """Bodies whose fields are known by name and of any type."""
    leaf = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=6),
        st.sampled_from([10**400, "\ud800", "\x00", "bench", "user", "data: [DONE]\n\n", -1, 1e308, float("nan")]),
    )
    value = st.recursive(
        leaf,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["role", "content", "text", "type", "include_usage"]), inner, max_size=3)
        ),
        max_leaves=4,
    )
    fields = st.dictionaries(st.sampled_from(FIELDS), value, max_size=4)
    return st.builds(
        lambda path, drawn: Draw("POST", path, (), json.dumps({"model": "bench"} | drawn).encode()),
        st.sampled_from(PATHS[:6]),
        fields,
    )


def _http_draw() -> SearchStrategy[Draw]:
    """Requests of any method, path, headers and bytes."""
    word = st.one_of(st.binary(max_size=8), st.sampled_from([b"host", b"content-length", b"transfer-encoding", b"x"]))
    return st.builds(
        Draw,
        st.sampled_from(["POST", "GET", "PUT", "HEAD", "OPTIONS", "TRACE", "PRI", "M-SEARCH", "", "P\x00ST", "post"]),
        st.one_of(st.sampled_from(PATHS), st.text(max_size=8).map(lambda text: f"/{text}")),
        st.lists(st.tuples(word, st.binary(max_size=8)), max_size=3).map(tuple),
        st.one_of(st.binary(max_size=30), st.just(b'{"model": "bench", "prompt": "x"}')),
    )


def inputs(drawn: list[Draw], number: int, key: str) -> Iterator[Input]:
    """Give each draw in ten forms, bent by a seed."""
    draw = random.Random(number)
    for one in drawn:
        has_odd_http = bool(one.headers) or one.method not in ("POST", "GET") or one.path not in PATHS
        body = _with_model(draw, one.body)
        for form in range(FORMS):
            yield _bent(draw, form, one, body, key, has_odd_http=has_odd_http)


def _bent(draw: random.Random, form: int, one: Draw, body: bytes, key: str, *, has_odd_http: bool) -> Input:
    line = f"{one.method} {one.path} HTTP/1.1".encode("utf-8", "surrogatepass")
    lines = [line, b"host: gateway"]
    if draw.random() > 0.05:
        lines.append(b"authorization: Bearer " + key.encode())
    lines += [b"%b: %b" % pair for pair in one.headers]
    is_framed = not has_odd_http
    if form in (1, 2, 3, 4, 5):
        body = _broken(draw, form, body)
    if form == 6:
        lines.append(b"transfer-encoding: chunked")
        return Input(_head(lines) + _chunked(draw, body), one.path, is_framed)
    if form == 7:
        lines += draw.sample(ODD_LINES, draw.choice([1, 1, 2]))
    elif form == 8:
        return Input(_smuggled(draw, lines) + request(one.path, body, key), one.path, is_framed=False)
    elif form == 9:
        return Input(_pipelined(draw, lines, one.method, body, key), one.path, is_framed=False)
    lines.append(b"content-length: %d" % len(body))
    return Input(_head(lines) + body, one.path, is_framed and form != 7)


def _smuggled(draw: random.Random, lines: list[bytes]) -> bytes:
    """Return a request with two lengths or a broken chunk; what follows it must not become part of it."""
    trick = draw.choice(CHUNK_TRICKS)
    chunked = b"transfer-encoding: chunked"
    more = [[chunked], [chunked, b"content-length: 4"], [b"content-length: %d" % len(trick), b"T" + chunked[1:]]]
    return _head([*lines, *draw.choice(more)]) + trick


def _pipelined(draw: random.Random, lines: list[bytes], method: str, body: bytes, key: str) -> bytes:
    """Return a request of odd path and headers with others behind it, or half of it."""
    if draw.random() < 0.5:
        target = spell(draw.choice([*TRICKS.values()]), draw.choice(PATHS), key)
        version = draw.choice([b" HTTP/1.1", b" HTTP/1.1", b" HTTP/1.0", b" HTTP/2.0", b"", b" HTTP/1.1 x"])
        lines = [method.encode() + b" " + target + version, *lines[1:]]
    lines += [text.format(key=key, bad="no").encode() for text in HEADERS[draw.choice([*HEADERS])].lines]
    data = _head([*lines, b"content-length: %d" % len(body)]) + body
    if draw.random() < 0.3:
        return data[: draw.randrange(len(data))]
    after = request("/v1/completions", b'{"model": "bench", "prompt": "after"}', key)
    return data + after * draw.choice([1, 2, 40])


def _with_model(draw: random.Random, body: bytes) -> bytes:
    """Name a model that is there, most of the time."""
    if body.startswith(b"{") and b'"model"' in body and draw.random() < 0.7:
        return re.sub(rb'"model": ("[^"\\]*"|null|\d+)', b'"model": "bench"', body, count=1)
    return body


def _broken(draw: random.Random, form: int, body: bytes) -> bytes:
    if form == 1:
        return body[: draw.randrange(len(body) + 1)]
    if form == 2:
        changed = bytearray(body or b"{")
        for _ in range(draw.randrange(1, 4)):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        return bytes(changed)
    if form == 3:
        places = [match.span() for match in _SCALAR.finditer(body)] or [(0, len(body))]
        begin, end = draw.choice(places)
        return body[:begin] + draw.choice(SCALARS) + body[end:]
    if form == 4:
        again = draw.choice(
            [
                b'"model": "bench"',
                b'"model": 5',
                b'"stream": true',
                b'"mod\\u0065l": "x"',
                b'"stream_options": {"include_usage": "on"}',
                b'"": "", "": ""',
            ]
        )
        return body[:-1] + (b", " if len(body) > 2 else b"") + again + b"}"
    depth = draw.choice([1, 60, 63, 64, 65, 900, 3000])
    opening, closing = draw.choice([(b"[", b"]"), (b'{"a":', b"}")])
    nest = opening * depth + b"1" + closing * draw.choice([depth, depth, depth - 1])
    return body[:-1] + (b', "x": ' if len(body) > 2 else b'"x": ') + nest + b"}"


def _chunked(draw: random.Random, body: bytes) -> bytes:
    parts, at = [], 0
    while at < len(body):
        size = draw.choice([1, 2, 7, 64, 5000])
        part = body[at : at + size]
        parts.append(b"%x%b\r\n%b\r\n" % (len(part), draw.choice([b"", b"", b";a=b", b';q="x"']), part))
        at += size
    return b"".join(parts) + b"0\r\n" + draw.choice([b"", b"", b"x: y\r\n"]) + b"\r\n"


def _head(lines: list[bytes]) -> bytes:
    return b"\r\n".join(lines) + b"\r\n\r\n"


def request(path: str, body: bytes, key: str) -> bytes:
    """Return a request of good form."""
    lines = [f"POST {path} HTTP/1.1".encode("utf-8", "surrogatepass"), b"host: gateway"]
    lines += [b"authorization: Bearer " + key.encode(), b"content-length: %d" % len(body)]
    return _head(lines) + body
