"""A flag that would open an engine is refused, however it is spelled."""

import importlib.util
import re
from pathlib import Path

import pytest

from driftwheel.errors import ConfigError
from driftwheel.settings.engine_flags import REFUSED
from driftwheel.settings.load import load_settings
from driftwheel.settings.serving import ServeSettings
from driftwheel.settings.settings import Settings
from tests.support.absent import absent

HARMLESS = {
    # of the server
    *("lora-modules", "chat-template", "chat-template-content-format", "default-chat-template-kwargs", "response-role"),
    *("return-tokens-as-token-ids", "enable-auto-tool-choice", "exclude-tools-when-tool-choice-none"),
    *("tool-call-parser", "tool-strict-level", "max-log-len", "enable-prompt-tokens-details"),
    *("enable-per-request-metrics", "enable-server-load-tracking", "enable-force-include-usage"),
    *("sse-keep-alive-interval", "enable-log-deltas", "cohere-is-reasoning-model", "cohere-format"),
    *("anthropic-disabled-thinking-effort", "log-error-stack", "tokens-only", "data-parallel-supervisor-port"),
    *("dp-supervisor-probe-interval-s", "dp-supervisor-probe-timeout-s", "dp-supervisor-probe-failure-threshold"),
    *("uvicorn-log-level", "disable-uvicorn-access-log", "disable-access-log-for-endpoints", "enable-ssl-refresh"),
    *("ssl-ciphers", "enable-request-id-headers", "disable-fastapi-docs", "h11-max-incomplete-event-size"),
    *("h11-max-header-count", "enable-flash-late-interaction"),
}
"""Flags of vLLM's server that open nothing: whoever adds one here has looked at what it does."""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--trust-remote-code"],
        ["--trust_remote_code"],
        ["--trust-remote"],
        ["--host", "0.0.0.0"],
        ["--host=0.0.0.0"],
        ["--dtype", "float16", "--allowed_local_media_path=/"],
        ["--allowed-local-media-path", "/"],
        ["--middleware", "evil.Middleware"],
        ["--kv-transfer-config.kv_connector_module_path", "evil"],
        ["--kv_transfer_config.kv_connector=evil"],
        ["--logits_processors+", "evil.Processor"],
        ["--config", "more.yaml"],
        ["--load-format", "pt"],
        ["--load_format=pt"],
        ["--api-key", "sk"],
        *([f"--{name}"] for name in REFUSED),
    ],
)
def test_what_opens_an_engine_is_refused(settings: Settings, arguments: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"serve.engine_args.*is refused, because it"):
        load_settings(settings.path, [f"serve.engine_args={arguments}"], environ={})


@pytest.mark.parametrize(
    "arguments",
    [
        [],  # as a child is handed them
        ["--dtype", "float32"],
        ["--no-trust-remote-code"],
        ["--reasoning-parser", "qwen3"],
        ["--enable-auto-tool-choice", "--tool-call-parser", "pythonic"],
        ["--chat-template", "own.jinja"],
        ["--load-format", "safetensors"],
        ["--max-model-len=2048", "-O3"],
        ["--tokenizer", "--"],
    ],
)
def test_other_flags_are_taken(arguments: list[str]) -> None:
    assert ServeSettings(engine_args=arguments).engine_args == arguments


def test_every_flag_of_the_server_was_judged() -> None:
    found = importlib.util.find_spec("vllm")
    if found is None or found.origin is None:
        absent("vLLM", install="the extra cpu or gpu")
    folder = Path(found.origin).parent
    server = (folder / "entrypoints" / "launchers" / "cli_args.py").read_text(encoding="utf-8")
    of_server = {name.replace("_", "-") for name in re.findall(r"^    ([a-z_0-9]+):", server, re.M)} - {
        "args",
        "else",
        "https",
    }
    assert of_server - HARMLESS - set(REFUSED) == set()
    of_engine = set(re.findall(r'"--([a-z0-9-]+)"', (folder / "engine" / "arg_utils.py").read_text(encoding="utf-8")))
    # `--config` is the command line's own.
    assert set(REFUSED) - of_server - of_engine - {"config"} == set()
