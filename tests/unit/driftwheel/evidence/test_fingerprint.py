"""A fingerprint tells one model from another, also where both give the same answers."""

import json
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any, ClassVar

import pytest

from driftwheel.errors import EngineError
from driftwheel.evidence import fingerprint
from driftwheel.records.probe_answers import ProbeAnswer
from driftwheel.text.conversations import said

TOLERANCE = 0.05
MESSAGES = [said("user", "where is my card")]


def taken(
    tokens: str = "abcd", logprob: float = -0.01, prompt: list[float] | None = None, ids: tuple[int, ...] = (5, 6, 7, 8)
) -> ProbeAnswer:
    return ProbeAnswer(
        messages=tuple(MESSAGES),
        tokens=tuple(tokens),
        logprobs=(logprob,) * len(tokens),
        prompt_logprobs=(-2.0, -3.0, -1.0) if prompt is None else tuple(prompt),
        prompt_ids=ids,
    )


@pytest.mark.parametrize(
    ("served", "is_same"),
    [
        (taken(), True),
        (taken(logprob=-0.05, prompt=[-2.03, -3.03, -1.03]), True),
        (taken(tokens="abxx"), False),
        (taken(logprob=-0.2), False),
        (taken(prompt=[-5.0, -6.0, -7.0]), False),
        (taken(prompt=[-2.0, -3.0]), False),
        (taken(prompt=[]), False),
        (taken(ids=(5, 6, 8, 7)), False),
    ],
    ids=[
        "the same",
        "rounding",
        "other answers",
        "less sure of its answers",
        "the same answers to prompts that surprise it more",
        "another template or tokenizer",
        "an engine that hides the prompt",
        "other prompt tokens that are just as likely",
    ],
)
def test_only_the_same_model_passes(served: ProbeAnswer, is_same: bool) -> None:
    assert fingerprint.compare([taken()], [served]).is_same(TOLERANCE) is is_same


def test_the_probes_must_be_the_same() -> None:
    other = replace(taken(), messages=({"role": "user", "content": "another"},))
    for stored in ([other], []):
        with pytest.raises(EngineError, match="probe"):
            fingerprint.compare(stored, [taken()])


class Answer(BaseHTTPRequestHandler):
    """One answer of the shape that vLLM gives; the first prompt token has no log-probability."""

    body: ClassVar[dict[str, Any]] = {
        "choices": [{"logprobs": {"content": [{"token": "{", "logprob": -0.1}, {"token": "}", "logprob": -0.2}]}}],
        "prompt_token_ids": [1, 17, 4],
        "prompt_logprobs": [None, {"17": {"logprob": -1.5, "rank": 3}}, {"4": {"logprob": -0.5, "rank": 1}}],
    }

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        is_right = asked["temperature"] == 0 and asked["logprobs"] and asked["prompt_logprobs"] == 0
        is_right = is_right and asked["return_token_ids"]
        body = json.dumps(self.body if is_right else {}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Stay silent."""


@pytest.fixture
def url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Answer)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_an_engine_is_asked_for_prompt_and_answer(url: str) -> None:
    (probe,) = fingerprint.take(url, "v1", [MESSAGES]).probes
    assert probe == ProbeAnswer(
        messages=tuple(MESSAGES),
        tokens=("{", "}"),
        logprobs=(-0.1, -0.2),
        prompt_logprobs=(-1.5, -0.5),
        prompt_ids=(1, 17, 4),
    )


def test_an_engine_without_log_probabilities_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answer, "body", {"choices": [{"logprobs": None}]})
    with pytest.raises(EngineError, match=url):
        fingerprint.take(url, "v1", [MESSAGES])
