"""An artifact becomes a vLLM process on loopback that answered a real token."""

import contextlib
import ctypes
import importlib.metadata
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from driftwheel.artifacts import is_complete, verify
from driftwheel.errors import ArtifactError, ConfigError, EngineError
from driftwheel.settings.settings import Settings
from serve.engines.liveness import answers_token

GIB = 1 << 30
ENGINE_BYTES = 2 * GIB
"""What a vLLM engine takes on a CPU beside weights and cache."""
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)  # loaded before the fork: nothing may take a lock after it
STOP_SECONDS = 20.0
POLL_SECONDS = 0.2
TELLING = ("Error", "error:", "Exception", "No space", "not found")

CommandBuilder = Callable[[Settings, str, str, int], list[str]]

ADAPTER = "adapter"
"""`kind` in the manifest of an artifact that is loaded beside its base."""
SLOTS = 4
"""Adapters that an engine answers with at once: live, candidate, shadow or canary, and the one before."""
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes as `--max-lora-rank` (vllm/config/lora.py)."""


@dataclass
class Engine:
    """A running vLLM child."""

    name: str
    """Served model name: the version id; the alias where its weights may be changed; `base-...` under adapters."""
    port: int
    process: "subprocess.Popen[bytes]"
    log_path: Path
    started_at: float
    start_seconds: float = 0.0
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        """Base URL on loopback."""
        return f"http://{self.host}:{self.port}"

    @property
    def is_running(self) -> bool:
        """Whether the process lives; a living process may still not answer."""
        return self.process.poll() is None

    def wait_ready(self, timeout_seconds: float) -> None:
        """Wait until it answers a real token; stops it and raises EngineError if it dies or takes too long."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            if not self.is_running:
                status = self.process.returncode
                self.stop()  # its children may have outlived it
                raise EngineError(
                    f"engine {self.name} died at start (status {status}): {self.last_words()}; see {self.log_path}"
                )
            if answers_token(self.host, self.port, self.name):
                self.start_seconds = time.monotonic() - self.started_at
                return
            time.sleep(POLL_SECONDS)
        self.stop()
        raise EngineError(f"engine {self.name} gave no token within {timeout_seconds:.0f} s; see {self.log_path}")

    def last_words(self) -> str:
        """Return the last telling line of its log."""
        lines = [line.strip() for line in self.log_path.read_text(errors="replace").splitlines() if line.strip()]
        telling = [line for line in lines if any(word in line for word in TELLING)]
        return (telling or lines or ["it wrote nothing"])[-1][-300:]

    def stop(self, grace_seconds: float = STOP_SECONDS) -> None:
        """Stop it and its own children: SIGTERM, and SIGKILL after the grace."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(grace_seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def start_artifact(
    settings: Settings,
    artifact: Path,
    name: str,
    replica: int = 0,
    build: "CommandBuilder | None" = None,
    port: int = 0,
) -> Engine:
    """Check an artifact against its manifest and start an engine on it; does not wait until it is ready.

    For an adapter it is an engine on its base, into which this and other adapters can be loaded.
    Raises ArtifactError if a byte differs.
    """
    manifest = verify(artifact)
    if manifest.get("kind") == ADAPTER:
        _check_base(artifact, manifest)
        return start(
            _hosting(settings, manifest), manifest["base_model"], name, build, port, replica,
            environment={"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"},
        )  # fmt: skip
    if settings.serve.swap == "in_place":
        # Its weights will be others' one day, so it does not go by the name of a version.
        return start(
            settings, str(artifact), settings.serve.alias, build, port, replica,
            environment={"VLLM_SERVER_DEV_MODE": "1"},
        )  # fmt: skip
    return start(settings, str(artifact), name, build, port, replica)


def served_rank(rank: int) -> int:
    """Return the smallest `--max-lora-rank` of an engine that can take an adapter; raises ConfigError."""
    for allowed in RANKS:
        if allowed >= rank:
            return allowed
    raise ConfigError(f"an adapter of rank {rank} is over vLLM's {RANKS[-1]}; set merge.kind to merged")


def _check_base(artifact: Path, manifest: dict[str, Any]) -> None:
    """Raise ArtifactError if the base, where it is an artifact itself, is not the one that was adapted any more."""
    base = Path(manifest["base_model"])
    if is_complete(base) and verify(base)["content_hash"] != manifest["base_identity"]:
        raise ArtifactError(f"{artifact} was trained on another model than {base} holds now; put that one back")


def _hosting(settings: Settings, manifest: dict[str, Any]) -> Settings:
    """Return the settings of an engine on an adapter's base.

    The modules are named because vLLM would else put LoRA around the output head too, and there a request for
    `prompt_logprobs` beside another request ends a CPU engine (vLLM 0.32, LogitsProcessorWithLoRA).
    """
    flags = ["--enable-lora", "--max-lora-rank", str(served_rank(manifest["rank"])), "--max-loras", str(SLOTS)]
    flags += ["--max-cpu-loras", str(2 * SLOTS), "--dtype", manifest["dtype"]]
    flags += ["--lora-target-modules", *manifest["target_modules"]]
    for flag in ("--revision", "--tokenizer-revision") if manifest["base_revision"] else ():
        flags += [flag, manifest["base_revision"]]
    serve = settings.serve.model_copy(update={"engine_args": [*flags, *settings.serve.engine_args]})
    return settings.model_copy(update={"serve": serve})


def start(
    settings: Settings,
    model: str,
    name: str,
    build: "CommandBuilder | None" = None,
    port: int = 0,
    replica: int = 0,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Engine:
    """Start an engine on a model folder or hub name; the log of the engine before it is kept as `.log.1`.

    Replicas of a version differ in port and log. Raises EngineError if the log or the process cannot be made.
    """
    port = port or free_port()
    number = f"-{replica}" if replica else ""
    log_path = settings.root / "logs" / f"engine-{name.replace('/', '_')}{number}.log"
    command = (build or vllm_command)(settings, model, name, port)
    try:
        log_path.parent.mkdir(parents=True, exist_ok=True)
        if log_path.exists():
            log_path.replace(log_path.with_suffix(".log.1"))
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=engine_environment(settings, model) | dict(environment),
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
    except OSError as error:
        raise EngineError(f"cannot start engine {name}: {error}; check the disk and the process limit") from error
    return Engine(name, port, process, log_path, time.monotonic())


def vllm_command(settings: Settings, model: str, name: str, port: int) -> list[str]:
    """Return the command line of a vLLM engine."""
    serve = settings.serve
    flags = {
        "--host": "127.0.0.1",
        "--port": str(port),
        "--served-model-name": name,
        "--fingerprint-mode": "custom",
        "--fingerprint-value": name,
        "--max-model-len": str(serve.max_model_len),
        "--max-num-seqs": str(serve.max_num_seqs),
        "--shutdown-timeout": "5",
        "--disable-access-log-for-endpoints": "/health,/metrics",
    }
    if has_gpu():
        flags["--gpu-memory-utilization"] = str(serve.gpu_memory_utilization)
    else:
        flags["--kv-cache-memory-bytes"] = str(serve.kv_cache_gib * GIB)
    eager = ["--enforce-eager"] if serve.enforce_eager else []
    pairs = [part for pair in flags.items() for part in pair]
    quiet = ["--disable-fastapi-docs", "--disable-uvicorn-access-log"]
    launcher = [sys.executable, "-m", "serve.engines.vllm_cli", "serve", model]
    return [*launcher, *pairs, *quiet, *eager, *serve.engine_args]


def engine_environment(settings: Settings, model: str) -> dict[str, str]:
    """Return the environment of an engine: no telemetry, no hub for a local folder, no cores taken from others."""
    environment = dict(os.environ)
    environment |= {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "PROMETHEUS_DISABLE_CREATED_SERIES": "true"}
    environment.pop("DRIFTWHEEL_API_KEYS", None)
    if not has_gpu():
        environment |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
        environment.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))
        environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # two engines share the cores during a swap
        environment["LD_PRELOAD"] = " ".join([environment.get("LD_PRELOAD", ""), *_openmp()]).strip()
        if settings.serve.enforce_eager:
            environment["VLLM_CPU_CI_ENV"] = "1"
    if Path(model).is_dir():
        environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    return environment


def _openmp() -> list[str]:
    """Return torch's own OpenMP library, which vLLM wants loaded first, without importing torch."""
    torch = importlib.util.find_spec("torch")
    folders = [Path(folder) for folder in (torch.submodule_search_locations or [] if torch else [])]
    return [str(path) for folder in folders for path in sorted((folder / "lib").glob("libgomp*.so*"))[:1]]


def has_gpu() -> bool:
    """Say whether the installed vLLM is the GPU build."""
    try:
        return not importlib.metadata.version("vllm").endswith("+cpu")
    except importlib.metadata.PackageNotFoundError:
        return False


def free_port() -> int:
    """Return a loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _die_with_parent() -> None:
    # Counts from the thread that forks: start engines from threads that last as long as the process.
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
