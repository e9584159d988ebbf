"""Requests as libraries write them: the wire forms of Java, browsers, probes and Windows' tools."""

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from driftwheel.settings.load import load_settings
from driftwheel.store.ledger import Ledger
from tests.support.speaking_engine import ANSWER, KEY, VERSION, Running, running

CHAT, MODELS = "/v1/chat/completions", "/v1/models"
BODY = {"model": "support", "messages": [{"role": "user", "content": "where is my card"}]}
PAGE = "https://app.example"
SETTINGS = """
project: support
model: {base: base}
dataset: {sources: [seed.jsonl]}
serve: {alias: support, cors_origins: [https://app.example]}
traffic:
  unwatched:
    user_agents: ["^UptimeRobot"]
    system_prompts: ["(?i)you name conversations"]
    first_texts: ["Generate a concise.* title"]
"""


@dataclass
class Answer:
    """One answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def value(self) -> Any:
        """The body's JSON."""
        return json.loads(self.body)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One gateway for this file, which lets pages of one origin ask."""
    folder: Path = tmp_path_factory.mktemp("wire")
    (folder / "driftwheel.yaml").write_text(SETTINGS, encoding="utf-8")
    settings = load_settings(folder / "driftwheel.yaml", environ={})
    ledger = Ledger(settings.database_url)
    with running(settings, ledger) as found:
        yield found
    ledger.close()


def exchange(gateway: Running, *parts: bytes) -> list[Answer]:
    """Send parts on one connection, each in a packet of its own, and return the answers until it is closed."""
    received = b""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=60) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            client.sendall(part)
        while part := client.recv(65_536):
            received += part
    answers = []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        line, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        length = int(headers.get("content-length", 0))
        answers.append(Answer(int(line.split()[1]), headers, received[:length]))
        received = received[length:]
    return answers


def head(method: str, target: str, *lines: str, key: str | None = KEY, last: bool = True) -> bytes:
    """Write a request's head; the connection ends after its answer if it is the last."""
    all_lines = [f"{method} {target} HTTP/1.1", "host: gateway", *lines]
    all_lines += [f"authorization: Bearer {key}"] if key else []
    all_lines += ["connection: close"] if last else []
    return ("\r\n".join(all_lines) + "\r\n\r\n").encode()


def post(gateway: Running, body: Any, *lines: str, path: str = CHAT) -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    (answer,) = exchange(gateway, head("POST", path, *lines, f"content-length: {len(data)}") + data)
    return answer


H2C = ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAEAAEAAAAIAAAABAAMAAABk")


@pytest.mark.parametrize("is_split", [False, True], ids=["in-one-packet", "body-later"])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunks"])
def test_an_offer_of_http2_is_ignored_and_its_body_is_read(gateway: Running, is_chunked: bool, is_split: bool) -> None:
    data = json.dumps(BODY).encode()
    framing = "transfer-encoding: chunked" if is_chunked else f"content-length: {len(data)}"
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if is_chunked else data
    first = head("POST", f"{CHAT}?a=b", *H2C, framing, last=False)
    parts = [first, body] if is_split else [first + body]
    upgraded, after = exchange(gateway, *parts, head("GET", MODELS))
    assert (upgraded.status, upgraded.value["choices"][0]["message"]["content"]) == (200, ANSWER)
    assert (upgraded.headers["connection"], after.status) == ("keep-alive", 200)
    assert gateway.engine.asked[-1].body == {**BODY, "model": VERSION}


def test_two_offers_of_http2_in_one_packet_are_two_requests(gateway: Running) -> None:
    data = json.dumps(BODY).encode()
    one = head("POST", CHAT, *H2C, f"content-length: {len(data)}", last=False) + data
    assert [a.status for a in exchange(gateway, one + one + head("GET", MODELS, "upgrade: websocket"))] == [200] * 3


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (("authorization: Bearer other",), 400),
        (tuple(f"x-{number}: y" for number in range(120)), 431),
        (("content-encoding: gzip",), 415),
        (("content-length: 9999999",), 413),
    ],
    ids=["two-keys", "many-headers", "compressed", "too-long"],
)
def test_an_offer_of_http2_hides_nothing(gateway: Running, lines: tuple[str, ...], status: int) -> None:
    more = () if any("content-length" in line for line in lines) else ("content-length: 2",)
    answer = exchange(gateway, head("POST", CHAT, *H2C, *lines, *more, last=False) + b"{}")[0]
    assert answer.status == status


def test_an_offer_of_http2_without_a_key_is_refused(gateway: Running) -> None:
    data = json.dumps(BODY).encode()
    lines = (*H2C, f"content-length: {len(data)}")
    assert exchange(gateway, head("POST", CHAT, *lines, key=None) + data)[0].status == 401


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (f"http://gateway:8000{MODELS}", 200),
        (f"https://[::1]:8000{MODELS}?a=b", 200),
        ("http://gateway", 404),
        (f"http://user@gateway{MODELS}", 404),
        (f"http://{MODELS}", 404),
        (f"ftp://gateway{MODELS}", 404),
        (f"HTTP://gateway{MODELS}/../models", 404),
    ],
)
def test_an_absolute_target_is_its_path(gateway: Running, target: str, status: int) -> None:
    assert exchange(gateway, head("GET", target))[0].status == status


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", MODELS, f"{MODELS}/support", "/openapi.json"])
def test_head_gets_what_get_gets_without_the_body(gateway: Running, path: str) -> None:
    (got,), asked = exchange(gateway, head("GET", path)), exchange_head(gateway, path)
    assert (asked.status, asked.headers["content-type"]) == (got.status, got.headers["content-type"])
    assert int(asked.headers["content-length"]) > 0


def exchange_head(gateway: Running, path: str) -> Answer:
    received = b""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=60) as client:
        client.sendall(head("HEAD", path))
        while part := client.recv(65_536):
            received += part
    line, *lines = received.decode().strip().split("\r\n")
    assert received.endswith(b"\r\n\r\n"), "a body came"
    return Answer(int(line.split()[1]), dict(line.split(": ", 1) for line in lines), b"")


def test_options_names_the_methods_to_who_has_a_key(gateway: Running) -> None:
    of_models, of_chat = exchange(gateway, head("OPTIONS", MODELS, last=False) + head("OPTIONS", CHAT))
    assert (of_models.status, of_models.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
    assert (of_chat.status, of_chat.headers["allow"]) == (204, "POST, OPTIONS")
    assert "content-length" not in of_chat.headers
    assert exchange(gateway, head("OPTIONS", CHAT, key=None))[0].status == 401
    assert exchange(gateway, head("OPTIONS", "/none"))[0].status == 404


def test_a_browser_asks_without_a_key_whether_its_page_may_ask(gateway: Running) -> None:
    names = "authorization,content-type,x-stainless-lang"
    lines = (f"origin: {PAGE}", "access-control-request-method: POST", f"access-control-request-headers: {names}")
    answer, unknown = (exchange(gateway, head("OPTIONS", path, *lines, key=None))[0] for path in (CHAT, "/none"))
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (204, PAGE)
    assert (answer.headers["access-control-allow-headers"], answer.headers["vary"]) == (names, "origin")
    assert "POST" in answer.headers["access-control-allow-methods"]
    # A stranger learns of no route: an unknown path is answered alike.
    told = ("x-request-id",)
    assert {n: v for n, v in answer.headers.items() if n not in told} == {
        n: v for n, v in unknown.headers.items() if n not in told
    }


def test_a_page_of_another_origin_is_refused(gateway: Running) -> None:
    lines = ("origin: https://evil.example", "access-control-request-method: POST")
    answer = exchange(gateway, head("OPTIONS", CHAT, *lines, key=None))[0]
    assert (answer.status, answer.value["error"]["code"]) == (403, "origin_not_allowed")
    assert not any(name.startswith("access-control") for name in answer.headers)
    assert not any(n.startswith("access-control") for n in post(gateway, BODY, "origin: https://evil.example").headers)


@pytest.mark.parametrize("key", [KEY, None], ids=["answer", "refusal"])
def test_a_page_may_read_the_answer_and_its_headers(gateway: Running, key: str | None) -> None:
    data = json.dumps(BODY).encode()
    request = head("POST", CHAT, f"origin: {PAGE}", f"content-length: {len(data)}", key=key) + data
    (answer,) = exchange(gateway, request)
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200 if key else 401, PAGE)
    assert {"x-request-id", "retry-after"} <= set(answer.headers["access-control-expose-headers"].split(", "))


def test_one_model_is_found_by_its_name(gateway: Running) -> None:
    gateway.run(lambda: gateway.routes.point("acme/support", VERSION))
    for name in ("support", VERSION, "acme/support", "acme%2Fsupport"):
        found = exchange(gateway, head("GET", f"{MODELS}/{name}"))[0]
        assert (found.status, found.value["object"]) == (200, "model")
        assert found.value in exchange(gateway, head("GET", MODELS))[0].value["data"]
    missing = exchange(gateway, head("GET", f"{MODELS}/gpt-4o"))[0]
    assert (missing.status, missing.value["error"]["code"]) == (404, "model_not_found")
    assert exchange(gateway, head("GET", f"{MODELS}/support", key=None))[0].status == 401
    page = exchange(gateway, head("GET", "/metrics"))[0].body
    assert b'route="/v1/models/{model}"' in page
    assert b"gpt-4o" not in page, "a stranger's path became a label"


@pytest.mark.parametrize(
    ("path", "near"),
    [
        (f"{CHAT}/", CHAT),
        ("/chat/completions", CHAT),
        (f"/v1{CHAT}", CHAT),
        (f"/{CHAT}", CHAT),
        ("/v1/models/", MODELS),
    ],
)
def test_a_path_that_is_nearly_right_is_answered_with_the_right_one(gateway: Running, path: str, near: str) -> None:
    answer = exchange(gateway, head("GET", path))[0]
    assert (answer.status, f"did you mean {near}?" in answer.value["error"]["message"]) == (404, True)


def test_a_byte_order_mark_before_the_json_is_overlooked(gateway: Running) -> None:
    answer = post(gateway, b"\xef\xbb\xbf" + json.dumps(BODY).encode())
    assert (answer.status, gateway.engine.asked[-1].body) == (200, {**BODY, "model": VERSION})
    assert post(gateway, b"\xef\xbb\xbf" + b'{"request_id": "r", "thumb": 1}', path="/v1/feedback").status == 404


@pytest.mark.parametrize(
    ("fields", "user"),
    [
        ({"safety_identifier": "s1"}, "s1"),
        ({"safety_identifier": "s1", "user": "u1"}, "u1"),
        ({"safety_identifier": 5, "user": ""}, ""),
    ],
)
def test_a_safety_identifier_is_the_user_where_none_is_named(gateway: Running, fields: Any, user: str) -> None:
    answer = post(gateway, {**BODY, **fields})
    assert next(row for row in gateway.rows() if row.id == answer.headers["x-request-id"]).user_id == user


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/responses", "/v1/embeddings"])
def test_feedback_finds_the_request_by_the_id_in_its_answers_body(gateway: Running, path: str) -> None:
    answer = post(gateway, {**BODY, "prompt": "a", "input": "a"}, path=path)
    name = answer.value["id"]
    assert name.endswith(answer.headers["x-request-id"])
    assert name != answer.headers["x-request-id"]
    told = post(gateway, {"request_id": name, "thumb": -1}, path="/v1/feedback")
    assert (told.status, told.value["request_id"]) == (200, answer.headers["x-request-id"])


def test_a_response_that_the_engine_refuses_it_refuses_as_the_client_wrote_it(gateway: Running) -> None:
    body = {"model": "support", "input": "refuse me"}
    assert post(gateway, body, path="/v1/responses").status == 400
    assert ["request_id" in asked.body for asked in gateway.engine.asked[-2:]] == [True, False]
    named = {"model": "support", "input": "a", "request_id": "resp_mine"}
    assert post(gateway, named, path="/v1/responses").value["id"] == "resp_mine"


@pytest.mark.parametrize("header", ["x-request-id", "x-client-request-id"])
def test_the_clients_own_id_comes_back_beside_the_gateways(gateway: Running, header: str) -> None:
    answer = post(gateway, BODY, f"{header}: order-5")
    assert answer.headers["x-client-request-id"] == "order-5"
    assert answer.headers["x-request-id"].startswith("req_")
    assert gateway.engine.asked[-1].headers["x-request-id"] == answer.headers["x-request-id"]
    assert "x-client-request-id" not in post(gateway, BODY, f"{header}: {'a' * 600}").headers


def chat(*messages: tuple[str, str]) -> dict[str, Any]:
    return {"model": "support", "messages": [{"role": role, "content": text} for role, text in messages]}


@pytest.mark.parametrize(
    ("path", "body", "lines", "is_watched"),
    [
        (CHAT, BODY, (), True),
        (CHAT, BODY, ("x-driftwheel-watch: no",), False),
        (CHAT, BODY, ("user-agent: UptimeRobot/2.0",), False),
        (CHAT, BODY, ("user-agent: UptimeRobot/2.0", "x-driftwheel-watch: yes"), True),
        (CHAT, BODY, ("user-agent: curl/8 UptimeRobot",), True),
        (CHAT, chat(("system", "You name conversations."), ("user", "hi")), (), False),
        (CHAT, chat(("developer", "You name conversations."), ("user", "hi")), (), False),
        (CHAT, chat(("user", "You name conversations.")), (), True),
        (CHAT, chat(("user", "### Task:\nGenerate a concise, 3-5 word title"), ("assistant", "x")), (), False),
        (CHAT, chat(("user", "hi"), ("assistant", "x"), ("user", "Generate a concise title")), (), True),
        ("/v1/completions", {"model": "support", "prompt": "Generate a concise title"}, (), False),
        ("/v1/responses", {"model": "support", "instructions": "You name conversations.", "input": "hi"}, (), False),
        ("/v1/responses", {"model": "support", "input": "Generate a concise title"}, (), False),
    ],
)
def test_what_no_user_asked_is_answered_and_logged_under_another_alias(
    gateway: Running, path: str, body: dict[str, Any], lines: tuple[str, ...], is_watched: bool
) -> None:
    answer = post(gateway, body, *lines, path=path)
    row = next(row for row in gateway.rows() if row.id == answer.headers["x-request-id"])
    assert (answer.status, row.alias) == (200, "support" if is_watched else "support@unwatched")


def test_a_watch_header_that_is_neither_yes_nor_no_is_refused(gateway: Running) -> None:
    answer = post(gateway, BODY, "x-driftwheel-watch: maybe")
    assert (answer.status, answer.value["error"]["code"]) == (400, "invalid_header")


def test_two_words_on_watching_are_refused_and_not_the_last_one_taken(gateway: Running) -> None:
    answer = post(gateway, BODY, "x-driftwheel-watch: yes", "x-driftwheel-watch: no")
    assert (answer.status, answer.value["error"]["code"]) == (400, "repeated_header")


def test_requests_that_nobody_watches_are_counted(gateway: Running) -> None:
    def counted() -> float:
        page = exchange(gateway, head("GET", "/metrics"))[0].body.decode()
        return float(page.partition("\ndriftwheel_unwatched_requests_total ")[2].split()[0])

    before = counted()
    for lines in (("x-driftwheel-watch: no",), ("user-agent: UptimeRobot/2.0",), ("x-driftwheel-watch: yes",), ()):
        post(gateway, BODY, *lines)
    assert counted() == before + 2


@pytest.mark.parametrize("key", [None, KEY], ids=["stranger", "key"])
@pytest.mark.parametrize(("method", "path"), [("GET", "/healthz"), ("HEAD", "/readyz"), ("OPTIONS", "/healthz")])
@pytest.mark.parametrize(
    "lines", [("content-length: 900000",), ("transfer-encoding: chunked",)], ids=["long", "chunks"]
)
def test_a_probe_brings_no_body_that_would_be_held(
    gateway: Running, method: str, path: str, key: str | None, lines: tuple[str, ...]
) -> None:
    """Strangers could fill the gateway's memory with bodies of requests that need no key."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=60) as client:
        client.sendall(head(method, path, *lines, key=key) + b"20000\r\n" + b"a" * 0x20000)
        said = client.makefile("rb").readline()
    assert said.split()[1] == b"400"
    empty = exchange(gateway, head(method, path, "transfer-encoding: chunked", key=key) + b"0\r\n\r\n")
    assert empty[0].status in (200, 204)


def test_a_preflight_brings_no_body_either(gateway: Running) -> None:
    lines = (f"origin: {PAGE}", "access-control-request-method: POST", "content-length: 900000")
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=60) as client:
        client.sendall(head("OPTIONS", CHAT, *lines, key=None))
        said = client.makefile("rb").readline()
    assert said.split()[1] == b"400"


def test_a_number_of_five_thousand_digits_is_told_from_what_is_no_json(gateway: Running) -> None:
    answer = post(gateway, b'{"request_id": "req_1", "label": ' + b"7" * 5000 + b"}", path="/v1/feedback")
    assert (answer.status, answer.value["error"]["code"]) == (400, "number_too_long")
    assert "send it as text" in answer.value["error"]["message"]


def test_a_compressed_body_is_refused_by_the_name_of_its_coding(gateway: Running) -> None:
    answer = post(gateway, b"\x1f\x8b", "content-encoding: gzip")
    assert (answer.status, "gzip" in answer.value["error"]["message"]) == (415, True)
    assert answer.headers["accept-encoding"] == "identity"


def test_who_waits_for_a_word_before_the_body_gets_it(gateway: Running) -> None:
    data = json.dumps(BODY).encode()
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=60) as client:
        client.sendall(head("POST", CHAT, "expect: 100-continue", f"content-length: {len(data)}"))
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(data)
        assert client.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_http10_is_answered_and_closed(gateway: Running) -> None:
    data = json.dumps(BODY).encode()
    lines = f"POST {CHAT} HTTP/1.0\r\nauthorization: Bearer {KEY}\r\nexpect: 100-continue\r\n"
    (answer,) = exchange(gateway, f"{lines}content-length: {len(data)}\r\n\r\n".encode() + data)
    assert (answer.status, answer.headers["connection"]) == (200, "close")
