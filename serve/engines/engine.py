"""Starts a vLLM process on loopback for an artifact, and waits for its first real token."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from driftwheel.errors import ArtifactError, EngineError
from driftwheel.files.artifacts import is_complete, verify
from driftwheel.machine.system import die_with_parent, free_port
from driftwheel.settings.serving import ServeSettings
from serve.engines.gpu_engine import room_for_engine
from serve.engines.liveness import answers_token
from serve.engines.lora import Lora, lora_arguments, lora_in
from serve.engines.vllm_command import engine_environment, vllm_command

STOP_SECONDS = 20.0
"""From SIGTERM to SIGKILL; vLLM itself is told to end its requests within 5 s (`--shutdown-timeout`)."""
POLL_SECONDS = 0.2
# In the log of a start that failed these words are on the line with the cause; what follows is a traceback's frame.
TELLING = ("Error", "error:", "Exception", "No space", "not found")

CommandBuilder = Callable[[ServeSettings, str, str, int], list[str]]


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
    """Where it listens: loopback, but on an engine host."""
    way: ClassVar[str] = "engine of its own"

    @property
    def url(self) -> str:
        """Base URL."""
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

    def post(self, path: str, body: Mapping[str, object], timeout_seconds: float) -> tuple[int, str]:
        """Send one of vLLM's own calls (adapters, weights); return status and text. Raises EngineError."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout_seconds)
        try:
            connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise EngineError(f"engine {self.name} did not answer {path}: {error}") from error
        finally:
            connection.close()

    def stop(self, grace_seconds: float = STOP_SECONDS) -> None:
        """Stop it and its own children: SIGTERM, and SIGKILL after the grace."""
        # The whole group: vLLM's second process holds the memory, and may have outlived the first.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(grace_seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def start_artifact(
    serve: ServeSettings,
    logs: Path,
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
    lora = lora_in(manifest)
    if lora is not None:
        _check_base(artifact, lora)
        hosting = serve.model_copy(update={"engine_args": [*lora_arguments(lora, artifact), *serve.engine_args]})
        environment = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}
        return start(hosting, logs, lora.base_model, name, build, port, replica, environment)
    if serve.swap == "in_place":
        # Its weights will be others' one day, so it does not go by the name of a version.
        environment = {"VLLM_SERVER_DEV_MODE": "1"}
        return start(serve, logs, str(artifact), serve.alias, build, port, replica, environment)
    return start(serve, logs, str(artifact), name, build, port, replica)


def _check_base(artifact: Path, lora: Lora) -> None:
    """Raise ArtifactError if the base, where it is an artifact itself, is not the one that was adapted any more."""
    base = Path(lora.base_model)
    if is_complete(base) and verify(base).content_hash != lora.base_identity:
        raise ArtifactError(f"{artifact} was trained on another model than {base} holds now; put that one back")


def start(
    serve: ServeSettings,
    logs: Path,
    model: str,
    name: str,
    build: "CommandBuilder | None" = None,
    port: int = 0,
    replica: int = 0,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Engine:
    """Start an engine on a model folder or hub name; the log of the engine before it is kept as `.log.1`.

    Replicas of a version differ in port, log and, where there are several, in GPUs. Waits for memory of a GPU. Raises
    EngineError if there is none, or if the log or the process cannot be made.
    """
    port = port or free_port(serve.engine_address)
    number = f"-{replica}" if replica else ""
    log_path = logs / f"engine-{name.replace('/', '_')}{number}.log"
    room = room_for_engine(serve, logs, model, name, replica)
    command = (build or vllm_command)(serve, model, name, port)
    devices = room.environment if room else {}
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
                env=engine_environment(serve, model) | devices | dict(environment),
                start_new_session=True,  # Ctrl-C must reach only the gateway, which drains first
                preexec_fn=die_with_parent,
            )
    except OSError as error:
        if room:
            room.give_back()
        raise EngineError(f"cannot start engine {name}: {error}; check the disk and the process limit") from error
    if room:
        room.belongs_to(process.pid)
    return Engine(name, port, process, log_path, time.monotonic(), host=serve.engine_address)
