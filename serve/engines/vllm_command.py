"""The command line and the environment of a vLLM engine, on a GPU or a CPU."""

import importlib.util
import os
import sys
from pathlib import Path

from driftwheel.machine.accelerator import has_gpu
from driftwheel.machine.child_secrets import HUB_TOKENS, without_secrets
from driftwheel.settings.serving import ServeSettings
from serve.engines.gpu_engine import gpu_flags
from serve.engines.tool_parser import tool_arguments

GIB = 1 << 30
ENGINE_BYTES = 2 * GIB
"""What a vLLM engine takes on a CPU beside weights and cache."""


def vllm_command(serve: ServeSettings, model: str, name: str, port: int) -> list[str]:
    """Return the command line of a vLLM engine."""
    flags = {
        "--host": serve.engine_address,
        "--port": str(port),
        "--served-model-name": name,
        "--fingerprint-mode": "custom",
        "--fingerprint-value": name,
        "--max-model-len": str(serve.max_model_len),
        "--max-num-seqs": str(serve.max_num_seqs),
        # Else vLLM gives some templates lists of parts, where they were trained with texts.
        "--chat-template-content-format": "string",
        "--shutdown-timeout": "5",
        "--disable-access-log-for-endpoints": "/health,/metrics",
    }
    if has_gpu():
        flags |= gpu_flags(serve, model)
    else:
        flags["--kv-cache-memory-bytes"] = str(serve.kv_cache_gib * GIB)
    eager = ["--enforce-eager"] if serve.enforce_eager else []
    pairs = [part for pair in flags.items() for part in pair]
    quiet = ["--disable-fastapi-docs", "--disable-uvicorn-access-log"]
    launcher = [sys.executable, "-m", "serve.engines.vllm_cli", "serve", model]
    return [*launcher, *pairs, *quiet, *eager, *tool_arguments(serve, model), *serve.engine_args]


def engine_environment(serve: ServeSettings, model: str) -> dict[str, str]:
    """Return the environment of an engine: no telemetry, no hub for a local folder, no cores taken from others."""
    environment = without_secrets(os.environ)
    if not Path(model).is_dir():
        environment |= {name: os.environ[name] for name in HUB_TOKENS if name in os.environ}
    environment |= {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "PROMETHEUS_DISABLE_CREATED_SERIES": "true"}
    # The gateway checks keys; an engine's log or crash dump must hold none, nor the database's password, which settings
    # that were handed on have in them. With vLLM's own variable the engine would want that key, which the gateway does
    # not send; the name is a key's, so that it is left out with the others.
    if not has_gpu():
        # `nobind`: vLLM would pin each engine's threads to the same cores, and a swap runs two engines.
        environment |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
        environment.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))
        environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # two engines share the cores during a swap
        environment["LD_PRELOAD"] = " ".join([environment.get("LD_PRELOAD", ""), *_openmp()]).strip()
        # What vLLM 0.32 compiles ahead of time for a CPU it cannot load again ("no attribute 'finalize_loading'"), and
        # each start compiles anew: a warm-up of 12 s instead of 4 with torch's own cache.
        environment.setdefault("VLLM_USE_AOT_COMPILE", "0")
        if serve.enforce_eager:
            environment["VLLM_CPU_CI_ENV"] = "1"
    if Path(model).is_dir():
        environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    return environment


def _openmp() -> list[str]:
    """Return torch's own OpenMP library, which vLLM wants loaded first, without importing torch."""
    torch = importlib.util.find_spec("torch")
    folders = [Path(folder) for folder in (torch.submodule_search_locations or [] if torch else [])]
    return [str(path) for folder in folders for path in sorted((folder / "lib").glob("libgomp*.so*"))[:1]]
