"""LoRA adapters in shared engines: each is a slot of an engine on its base, loaded instead of started.

A slot's name, `VERSION@NUMBER`, is given once: vLLM answers a name that it has seen before from blocks that it cached
with the earlier weights, and the proof cannot see that, because vLLM does not use them where it is asked for the
log-probabilities of a prompt.
"""

import itertools
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import structlog

from driftwheel.errors import EngineError
from driftwheel.files.artifacts import read_manifest, verify
from driftwheel.settings.serving import ServeSettings
from serve.engines.engine import STOP_SECONDS, Engine
from serve.engines.liveness import answers_token
from serve.engines.lora import Lora, lora_in, served_rank

CALL_SECONDS = 30.0
"""An adapter is some MB, but vLLM loads it between two steps of a busy engine."""
log = structlog.get_logger()

StartEngine = Callable[[ServeSettings, Path, Path, str, int], Engine]
"""Settings, folder of logs, artifact, name and number of the replica."""


@dataclass(eq=False)
class Host:
    """An engine that runs a base with LoRA on; it lives as long as one of its slots."""

    engine: Engine
    base: tuple[str | None, ...]
    modules: frozenset[str]
    max_rank: int
    replica: int
    slots: set[str] = field(default_factory=set)
    loading: threading.Lock = field(default_factory=threading.Lock)

    def fits(self, lora: Lora, replica: int) -> bool:
        """Say whether an adapter can be loaded here."""
        is_same = (self.base, self.replica) == (lora.base, replica)
        has_its_modules = self.modules.issuperset(lora.target_modules)
        is_small = served_rank(lora.rank) <= self.max_rank
        return is_same and has_its_modules and is_small and self.engine.is_running

    def call(self, path: str, body: dict[str, str], timeout_seconds: float = CALL_SECONDS) -> None:
        """Have the engine load or unload; raises EngineError with its reason."""
        status, text = self.engine.post(path, body, timeout_seconds)
        if status != 200:
            raise EngineError(f"engine {self.engine.name} refused {body['lora_name']}: {_reason(text)}")


@dataclass(eq=False)
class Slot:
    """One adapter in an engine; to fleet, proof and health it is an engine of its own."""

    name: str
    """Served model name: the version id and a number that no slot had before."""
    artifact: Path
    host_engine: Host
    adapters: "Adapters"
    started_at: float = field(default_factory=time.monotonic)
    start_seconds: float = 0.0
    way: ClassVar[str] = "adapter in an engine that runs its base"

    @property
    def host(self) -> str:
        """Address of the engine."""
        return self.host_engine.engine.host

    @property
    def port(self) -> int:
        """Port of the engine."""
        return self.host_engine.engine.port

    @property
    def url(self) -> str:
        """Base URL of the engine."""
        return self.host_engine.engine.url

    @property
    def is_running(self) -> bool:
        """Whether the engine lives and has not been told to unload this."""
        return self.name in self.host_engine.slots and self.host_engine.engine.is_running

    @property
    def base_name(self) -> str:
        """The name under which the same engine answers without any adapter."""
        return self.host_engine.engine.name

    def wait_ready(self, timeout_seconds: float) -> None:
        """Wait for the engine, load the adapter and get a real token from it; raises EngineError."""
        host = self.host_engine
        # Several slots may wait for one engine that starts; only the first of them waits for its token.
        with host.loading:
            if not host.engine.start_seconds:
                host.engine.wait_ready(timeout_seconds)
        host.call("/v1/load_lora_adapter", {"lora_name": self.name, "lora_path": str(self.artifact)})
        if not answers_token(self.host, self.port, self.name):
            raise EngineError(f"{self.name} was loaded and gives no token; see {host.engine.log_path}")
        self.start_seconds = time.monotonic() - self.started_at

    def last_words(self) -> str:
        """Return the last telling line of the engine's log."""
        return self.host_engine.engine.last_words()

    def stop(self, grace_seconds: float = STOP_SECONDS) -> None:
        """Unload it; the engine is stopped if this was its last adapter, or if it gives no token any more."""
        self.adapters.release(self, grace_seconds)


class Adapters:
    """The engines that run a base, and which adapters each of them has."""

    def __init__(self, start: StartEngine) -> None:
        self._start = start
        self._hosts: list[Host] = []
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)

    def start(self, serve: ServeSettings, logs: Path, artifact: Path, version_id: str, replica: int) -> Engine | Slot:
        """Start an engine on a whole model; give an adapter a slot, and start an engine for it only where none fits.

        Returns before it is ready. Raises ArtifactError if a byte differs, EngineError if nothing can be started.
        """
        lora = lora_in(read_manifest(artifact))
        if lora is None:
            return self._start(serve, logs, artifact, version_id, replica)
        verify(artifact)
        name = f"{version_id}@{next(self._numbers)}"
        with self._lock:
            self._hosts = [host for host in self._hosts if host.engine.is_running]
            host = next((h for h in self._hosts if h.fits(lora, replica)), None)
            if host is None:  # which checks the base's bytes too, before anything loads them
                engine = self._start(serve, logs, artifact, f"base-{lora.base_identity[:12]}", replica)
                modules = frozenset(lora.target_modules)
                host = Host(engine, lora.base, modules, served_rank(lora.rank), replica)
                self._hosts.append(host)
            # Taken before the adapter is loaded: an engine whose last slot ends meanwhile must not be stopped.
            host.slots.add(name)
        return Slot(name, artifact, host, self)

    def has_host(self, artifact: Path, replicas: int) -> bool:
        """Say whether an artifact is an adapter, every replica of which would find its engine running."""
        lora = lora_in(read_manifest(artifact))
        if lora is None:
            return False
        with self._lock:
            return all(any(host.fits(lora, number) for host in self._hosts) for number in range(replicas))

    def release(self, slot: Slot, grace_seconds: float) -> None:
        """Take a slot back, and stop an engine that is left without one or that hangs."""
        host = slot.host_engine
        with self._lock:
            host.slots.discard(slot.name)
            is_needed = bool(host.slots)
            if not is_needed and host in self._hosts:
                self._hosts.remove(host)
        if is_needed and host.engine.is_running:
            try:
                host.call("/v1/unload_lora_adapter", {"lora_name": slot.name}, grace_seconds)
            except EngineError as error:
                log.warning("an adapter was not unloaded", name=slot.name, error=str(error))
            # A hanging engine is stopped although others have slots in it: their answers hang as well.
            if answers_token(host.engine.host, host.engine.port, host.engine.name, grace_seconds):
                return
        host.engine.stop(grace_seconds)


def _reason(text: str) -> str:
    try:
        return str(json.loads(text)["error"]["message"])[:300]
    except (ValueError, LookupError, TypeError):
        return text[:300]
