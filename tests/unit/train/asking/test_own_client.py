"""The loop's own calls go to its own engines and gateway, whatever the environment says about proxies and accounts."""

import http.server
import json
import threading
from collections.abc import Iterator

import pytest

from dashboard.asking import ask
from driftwheel.settings.settings import Settings
from driftwheel.text.conversations import Message
from train.asking.client import Endpoint, ask_all
from train.asking.own_client import client_of, is_own
from train.evaluation.general_tasks import environment_of

ANSWER = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "card"}, "finish_reason": "stop"}],
}
DEAD = "http://127.0.0.1:9"
"""The port of `discard`: nothing listens there."""


class Engine(http.server.BaseHTTPRequestHandler):
    """Answers everything, and writes down the headers."""

    seen: list[dict[str, str]]

    def do_POST(self) -> None:
        self.seen.append({name.lower(): value for name, value in self.headers.items()})
        self.rfile.read(int(self.headers["content-length"]))
        body = json.dumps(ANSWER).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, list[dict[str, str]]]]:
    """A server's port and the headers that reached it, in an environment that would lead its clients astray."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, DEAD)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another-account")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{DEAD}/v1")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-other")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-other")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer sk-of-another-account")
    headers: list[dict[str, str]] = []
    handler = type("Recorder", (Engine,), {"seen": headers})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port, headers
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_engine_is_asked_directly_and_with_the_given_key(seen: tuple[int, list[dict[str, str]]]) -> None:
    port, headers = seen
    endpoint = Endpoint(url=f"http://127.0.0.1:{port}", model="m", api_key="ours")
    messages: list[list[Message]] = [[{"role": "user", "content": "where is my card"}]]
    (answer,) = ask_all(endpoint, messages, max_tokens=4, concurrency=1, timeout_seconds=60, with_logprobs=False)
    assert (answer.text, headers[0]["authorization"]) == ("card", "Bearer ours")
    assert {"openai-organization", "openai-project"} & headers[0].keys() == set()


def test_the_dashboard_asks_the_gateway_directly(seen: tuple[int, list[dict[str, str]]], settings: Settings) -> None:
    serve = settings.serve.model_copy(update={"port": seen[0], "request_timeout_seconds": 60.0})
    reply = ask(serve, "support", "where is my card", max_tokens=4)
    assert (reply.answer, reply.problem) == ("card", None)


def test_lm_eval_is_told_that_the_proxy_is_not_for_this_machine(
    seen: tuple[int, list[dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "mirror.example")
    told = environment_of(Endpoint(url="http://127.0.0.1:1", model="m", api_key="ours"))
    assert told["OPENAI_API_KEY"] == "ours"
    assert {"mirror.example", "127.0.0.1", "localhost"} <= set(told["no_proxy"].split(","))
    assert told["no_proxy"] == told["NO_PROXY"]


@pytest.mark.parametrize(
    ("url", "is_ours"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://localhost:8000/v1", True),
        ("http://[::1]:8000", True),
        ("https://api.example", False),
        ("http://10.0.0.5:8000", False),
    ],
)
def test_only_this_machines_endpoints_are_our_own(url: str, is_ours: bool) -> None:
    assert is_own(url) is is_ours


def test_an_endpoint_elsewhere_keeps_the_machines_proxy(seen: tuple[int, list[dict[str, str]]]) -> None:
    """A model that judges may be reached in no other way."""
    assert client_of("http://judge.example", "k", timeout_seconds=1)._client.trust_env is True
