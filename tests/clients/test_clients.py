"""The clients that users have, each doing what its users do, against the real gateway.

The programs in `programs/` run in an environment of their own and print what they found. An engine that speaks as vLLM
does stands behind the gateway: the model is not what is tested here.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.absent import absent
from tests.support.client_environment import Installed, clean_environment
from tests.support.speaking_engine import ANSWER, ARGUMENTS, KEY, SCHEMA_ANSWER, TOOL, VERSION, Running

PROGRAMS = Path(__file__).parent / "programs"
SECONDS = 500
"""Long enough for the slowest import on a machine that does other work as well."""
COMMON = {"chat": ANSWER, "stream": ANSWER, "tool": [TOOL, ARGUMENTS]}
MODELS = ["support", VERSION]


def run(gateway: Running, command: list[str], **more: str) -> str:
    """Run a client's program and return what it printed; what it complained of is in the failure's text."""
    environment = clean_environment(BASE_URL=gateway.url, API_KEY=KEY, **more)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


def found_by(gateway: Running, installed: Installed, program: str) -> Any:
    is_node = program.endswith(".mjs")
    command = [str(installed.node if is_node else installed.python), str(PROGRAMS / program)]
    return json.loads(run(gateway, command, NODE_FOLDER=str(installed.node_folder)).splitlines()[-1])


def test_the_official_python_client(gateway: Running, installed: Installed) -> None:
    assert found_by(gateway, installed, "openai_python.py") == {
        **COMMON,
        "same_id": True,
        "tool": [TOOL, ARGUMENTS, "tool_calls"],
        "after_tool": ANSWER,
        "structured": SCHEMA_ANSWER,
        "response": ANSWER,
        "embedding": [0.5, -0.25],
        "models": MODELS,
        "model": "support",
        "errors": [["NotFoundError", 404], ["BadRequestError", 400], ["AuthenticationError", 401]],
        "after_429": [ANSWER, True],
        "after_503": [ANSWER, True],
    }


def test_the_official_node_client(gateway: Running, installed: Installed) -> None:
    assert found_by(gateway, installed, "openai_node.mjs") == {
        **COMMON,
        "structured": SCHEMA_ANSWER,
        "response": ANSWER,
        "models": MODELS,
        "model": "support",
        "errors": [["NotFoundError", 404], ["BadRequestError", 400]],
        "after_429": [ANSWER, True],
        "after_503": [ANSWER, True],
    }


def test_langchain(gateway: Running, installed: Installed) -> None:
    assert found_by(gateway, installed, "langchain_chat.py") == {
        **COMMON,
        "structured": SCHEMA_ANSWER,
        "errors": [400],
        "after_429": [ANSWER, True],
    }


def test_llama_index(gateway: Running, installed: Installed) -> None:
    assert found_by(gateway, installed, "llama_index_chat.py") == {**COMMON, "errors": [400]}


def test_litellm(gateway: Running, installed: Installed) -> None:
    assert found_by(gateway, installed, "litellm_chat.py") == {
        **COMMON,
        "structured": SCHEMA_ANSWER,
        "errors": [400],
        "after_503": ANSWER,
    }


def test_the_jdks_own_client(gateway: Running) -> None:
    if shutil.which("javac") is None:
        absent("a JDK", install="Debian's package default-jdk-headless")
    said = run(gateway, ["java", "-XX:TieredStopAtLevel=1", str(PROGRAMS / "JavaClient.java")])
    assert said.splitlines() == ["200 HTTP_1_1 true", "true", "200 true", "200"]


CHAT = {"model": "support", "messages": [{"role": "user", "content": "where is my card"}]}


@pytest.mark.parametrize(
    ("flags", "status"),
    [
        ([], 200),
        (["--http2"], 200),
        (["--http1.0"], 200),
        (["-H", "expect: 100-continue"], 200),
        (["-H", "transfer-encoding: chunked"], 200),
        (["-H", "connection: close"], 200),
        (["--compressed"], 200),
        (["-H", "content-encoding: gzip"], 415),
        (["--request-target", "http://gateway/v1/chat/completions"], 200),
    ],
    ids=lambda value: " ".join(value) or "plain" if isinstance(value, list) else str(value),
)
def test_curl(gateway: Running, flags: list[str], status: int) -> None:
    if shutil.which("curl") is None:
        absent("curl", install="Debian's package curl")
    command = ["curl", "--silent", "--show-error", "--max-time", "20", "--write-out", "\n%{http_code}", *flags]
    command += ["-H", f"authorization: Bearer {KEY}", "--data", json.dumps(CHAT), f"{gateway.url}/chat/completions"]
    body, _, code = run(gateway, command).rpartition("\n")
    assert int(code) == status
    assert ("choices" if status == 200 else "error") in json.loads(body)


def test_curl_reads_a_stream_and_a_head(gateway: Running) -> None:
    if shutil.which("curl") is None:
        absent("curl", install="Debian's package curl")
    base = ["curl", "--silent", "--show-error", "--max-time", "20", "-H", f"authorization: Bearer {KEY}"]
    streamed = run(
        gateway, [*base, "-N", "--data", json.dumps({**CHAT, "stream": True}), f"{gateway.url}/chat/completions"]
    )
    assert streamed.endswith("data: [DONE]")
    assert run(gateway, [*base, "--head", f"{gateway.url}/models"]).startswith("HTTP/1.1 200 OK")
