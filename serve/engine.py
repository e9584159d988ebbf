"""An artifact becomes a vLLM process on loopback that answered a real token.

    python -m serve engine --config driftwheel.yaml --artifact DIR

The command prints one JSON line when the engine is ready and stops it when its standard input ends.
"""

import argparse
import contextlib
import ctypes
import importlib.metadata
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from driftwheel.artifacts import verify
from driftwheel.command import add_common_arguments, settings_from
from driftwheel.config import Settings
from driftwheel.errors import EngineError, NotFoundError
from serve.liveness import answers_token

GIB = 1 << 30
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)  # loaded before the fork: nothing may take a lock after it
STOP_SECONDS = 20.0
POLL_SECONDS = 0.2
TELLING = ("Error", "error:", "Exception", "No space", "not found")

CommandBuilder = Callable[[Settings, str, str, int], list[str]]


@dataclass
class Engine:
    """A running vLLM child."""

    name: str
    """Served model name: the version id."""
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
    settings: Settings, artifact: Path, name: str, replica: int = 0, build: "CommandBuilder | None" = None
) -> Engine:
    """Check an artifact against its manifest and start an engine on it; does not wait until it is ready.

    Raises ArtifactError if a byte differs.
    """
    verify(artifact)
    return start(settings, str(artifact), name, build or vllm_command, replica=replica)


def start(
    settings: Settings,
    model: str,
    name: str,
    build: "CommandBuilder | None" = None,
    port: int = 0,
    replica: int = 0,
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
                env=engine_environment(settings, model),
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
    return [sys.executable, "-m", "serve.vllm_launcher", "serve", model, *pairs, *quiet, *eager, *serve.engine_args]


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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--artifact", type=Path, metavar="DIR", help="artifact folder; checked against its manifest")
    source.add_argument("--model", metavar="MODEL", help="any model folder or hub name, unchecked")
    parser.add_argument("--port", type=int, default=0, help="port on loopback (a free one)")


def main(arguments: argparse.Namespace) -> None:
    """Run one engine until standard input ends or a signal comes."""
    settings = settings_from(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if arguments.artifact is not None:
        if not arguments.artifact.is_dir():
            raise NotFoundError(f"no artifact at {arguments.artifact}; `driftwheel quantize` makes one")
        verify(arguments.artifact)
    model = str(arguments.artifact.resolve()) if arguments.artifact else settings_model(settings, arguments.model)
    engine = start(settings, model, f"{Path(model).name}", port=arguments.port)
    try:
        engine.wait_ready(settings.serve.start_timeout_seconds)
        line = {
            "url": engine.url,
            "model": engine.name,
            "pid": engine.process.pid,
            "start_seconds": engine.start_seconds,
        }
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        sys.stdin.read()
    finally:
        engine.stop()


def settings_model(settings: Settings, model: str) -> str:
    """Return a model folder as an absolute path, or a hub name as it is."""
    local = settings.resolve(model)
    return str(local) if local.is_dir() else model
