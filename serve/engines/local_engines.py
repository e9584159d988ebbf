"""Engines of this machine: `serve.replicas` children of the gateway, or slots of adapters in such children."""

from pathlib import Path

import structlog

from driftwheel.errors import ArtifactError
from driftwheel.files.artifacts import read_manifest
from driftwheel.records.nouns import ModelVersion
from driftwheel.settings.serving import ServeSettings
from serve.engines.adapters import Adapters, Slot, StartEngine
from serve.engines.engine import Engine
from serve.engines.in_place import way_to_swap

log = structlog.get_logger()


class LocalLauncher:
    """Starts engines as children of this process; a place is the number of a replica."""

    def __init__(self, serve: ServeSettings, logs: Path, start: StartEngine) -> None:
        self._serve, self._logs, self._adapters = serve, logs, Adapters(start)

    @classmethod
    def takes(cls, serve: ServeSettings) -> bool:
        """Say yes: this is what is used where nothing else is asked for."""
        return True

    @property
    def engines_per_version(self) -> int:
        """The replicas of the settings."""
        return self._serve.replicas

    def check(self, version: ModelVersion) -> None:
        """Raise ArtifactError unless the folder holds what was judged."""
        folder = Path(version.path)
        if read_manifest(folder).content_hash != version.manifest_hash:
            raise ArtifactError(f"{folder} holds another artifact than {version.id} was judged on; publish it again")

    def needs_start(self, version: ModelVersion) -> bool:
        """Say whether a process must start; an adapter may find one on its base."""
        return not self._adapters.has_host(Path(version.path), self._serve.replicas)

    async def places(self, version: ModelVersion) -> list[str]:
        """Return the numbers of the replicas."""
        return [str(number) for number in range(self._serve.replicas)]

    def launch(self, version: ModelVersion, place: str) -> Engine | Slot:
        """Start an engine, or give an adapter its slot; raises ArtifactError if a byte differs, or EngineError."""
        log.info("starting engine", version=version.id, replica=int(place))
        artifact = Path(version.path)
        # `auto` is decided by the memory that is free now, and by what this artifact is.
        serve = self._serve.model_copy(update={"swap": way_to_swap(self._serve, artifact)})
        return self._adapters.start(serve, self._logs, artifact, version.id, int(place))
