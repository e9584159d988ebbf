"""The launchers: where the engines of a version come from.

A new kind of engine, such as one of another runtime or of a cluster's scheduler, is one module with a class that fits
`Launcher`, and one line in LAUNCHERS. Fleet, shadow and health know engines only as `ServingEngine`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from driftwheel.records.nouns import ModelVersion
from driftwheel.settings.serving import ServeSettings
from serve.engines.adapters import StartEngine
from serve.engines.local_engines import LocalLauncher
from serve.engines.remote import RemoteLauncher


class ServingEngine(Protocol):
    """An engine of this gateway, an adapter's slot in one, or one elsewhere."""

    @property
    def name(self) -> str: ...

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...

    @property
    def url(self) -> str: ...

    @property
    def way(self) -> str:
        """How a version is served by it, in the words of its Deployment row."""

    @property
    def is_running(self) -> bool: ...

    def wait_ready(self, timeout_seconds: float) -> None: ...

    def last_words(self) -> str: ...

    def stop(self, grace_seconds: float = ...) -> None: ...


class Launcher(Protocol):
    """Gets a version its engines."""

    def __init__(self, serve: ServeSettings, logs: Path, start: StartEngine) -> None:
        """Take the settings, where engines are to log, and what makes an artifact an engine of this machine."""

    @classmethod
    def takes(cls, serve: ServeSettings) -> bool:
        """Say whether the engines come from here by these settings."""

    @property
    def engines_per_version(self) -> int:
        """How many engines a version is to have."""

    def check(self, version: ModelVersion) -> None:
        """Raise ArtifactError unless the version's bytes are those that were judged, where they are loaded here."""

    def needs_start(self, version: ModelVersion) -> bool:
        """Say whether a version needs an engine that does not run yet; blocks."""

    async def places(self, version: ModelVersion) -> list[str]:
        """Return where a version's engines are to be; raises EngineError if there is nowhere."""

    def launch(self, version: ModelVersion, place: str) -> ServingEngine:
        """Have an engine at a place, not ready yet; blocks. Raises ArtifactError or EngineError."""


LAUNCHERS: tuple[type[Launcher], ...] = (
    RemoteLauncher,
    LocalLauncher,
)
"""The first that takes the settings is used; the last one takes all."""


def launcher_for(
    serve: ServeSettings, logs: Path, start: StartEngine, launchers: Sequence[type[Launcher]] = LAUNCHERS
) -> Launcher:
    """Return the launcher that the settings ask for."""
    return next(launcher for launcher in launchers if launcher.takes(serve))(serve, logs, start)
