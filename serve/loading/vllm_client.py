"""Loads an endpoint with vLLM's own bench client, and reads what it measured.

The client is a process of its own: it imports torch, and must not share a processor's time with what it measures
more than it has to. Its prompts are random tokens, each of another beginning, so that no cache answers them.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from driftwheel.errors import ConfigError, EngineError
from driftwheel.machine.child_secrets import without_secrets

CLIENT = (sys.executable, "-m", "serve.engines.vllm_cli")
WARM_UP_REQUESTS = 4
LAST_WORDS = 300


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is asked at once and in all."""

    streams: int
    """Requests at once."""
    requests: int
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is asked: the endpoint, its model's name, and how that counts tokens."""

    url: str
    model: str
    tokenizer: str
    """A folder or a hub name; the client makes its prompts with it."""
    key: str | None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one load came to; times are milliseconds."""

    streams: int
    requests: int
    failed: int
    seconds: float
    requests_per_second: float
    output_tokens_per_second: float
    first_token_p50_ms: float
    first_token_p99_ms: float
    per_token_p50_ms: float
    """Between two tokens of one answer, its first left out."""
    per_token_p99_ms: float


def check_client() -> None:
    """Raise ConfigError if vLLM is not installed."""
    if find_spec("vllm") is None:
        raise ConfigError("`driftwheel bench` asks by vLLM's own client: install the extra `gpu` or `cpu`")


def measure(target: Target, load: Load, client: Sequence[str] = CLIENT) -> Measured:
    """Load the endpoint and return what was measured; blocks.

    Raises EngineError if the client fails, or if not one request was answered: nothing was measured then.
    """
    with tempfile.TemporaryDirectory(prefix="driftwheel-bench-") as folder:
        result_path = Path(folder) / "result.json"
        done = subprocess.run(
            [*client, *_arguments(target, load, result_path)],
            env=_environment(target),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not result_path.is_file():
            raise EngineError(f"vLLM's bench client ended with status {done.returncode}: {_last_words(done.stderr)}")
        found = json.loads(result_path.read_text(encoding="utf-8"))
    if not found["completed"]:
        raise EngineError(
            f"{target.url} answered none of {load.requests} requests for {target.model!r}; ask it once by hand: is the "
            "model served, the key right, and does a prompt of that length fit?"
        )
    return Measured(
        streams=load.streams,
        requests=load.requests,
        failed=found["failed"],
        seconds=found["duration"],
        requests_per_second=found["request_throughput"],
        output_tokens_per_second=found["output_throughput"],
        first_token_p50_ms=found["p50_ttft_ms"],
        first_token_p99_ms=found["p99_ttft_ms"],
        per_token_p50_ms=found["p50_tpot_ms"],
        per_token_p99_ms=found["p99_tpot_ms"],
    )


def _arguments(target: Target, load: Load, result_path: Path) -> list[str]:
    flags = {
        "--backend": "openai-chat",
        "--base-url": target.url,
        "--endpoint": "/v1/chat/completions",
        "--model": target.model,
        "--tokenizer": target.tokenizer,
        "--dataset-name": "random",
        "--random-input-len": str(load.input_tokens),
        "--random-output-len": str(load.output_tokens),
        "--num-prompts": str(load.requests),
        "--max-concurrency": str(load.streams),
        "--num-warmups": str(WARM_UP_REQUESTS),
        "--percentile-metrics": "ttft,tpot",
        "--metric-percentiles": "50,99",
        "--result-dir": str(result_path.parent),
        "--result-filename": result_path.name,
        # Else random prompts would be taken for drift, and be learned.
        "--header": "x-driftwheel-watch=no",
    }
    pairs = [part for pair in flags.items() for part in pair]
    # Without an end before its time each answer has the tokens that were asked for, and loads can be compared.
    return ["bench", "serve", *pairs, "--save-result", "--ignore-eos", "--disable-tqdm"]


def _environment(target: Target) -> dict[str, str]:
    environment = without_secrets(os.environ) | {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    if Path(target.tokenizer).is_dir():
        environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    return environment | ({"OPENAI_API_KEY": target.key} if target.key else {})


def _last_words(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines or ["it wrote nothing"])[-1][-LAST_WORDS:]
