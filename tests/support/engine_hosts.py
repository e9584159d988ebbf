"""Engine hosts for tests: agents with fake engines, each on a folder of its own, and a loop whose gateway uses them.

python -m tests.support.engine_hosts SETTINGS NAME ADDRESS
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop
import yaml

from driftwheel.control.engine_hosts import EngineState, HostReport, find_report
from driftwheel.files.artifacts import read_manifest, write_json, writing
from driftwheel.files.object_store import open_store
from driftwheel.files.stored_artifacts import put_artifact
from driftwheel.records.nouns import ModelVersion
from driftwheel.records.probe_answers import Fingerprint
from driftwheel.settings.load import load_settings
from driftwheel.store.ledger import Ledger
from serve.hosts.name_claim import NameClaim
from serve.verbs.engine_host import host_engines
from tests.support import fake_gateway
from tests.support.fake_world import PROBE, World

PATIENCE_SECONDS = 60


@dataclass
class HostedWorld(World):
    """A loop whose versions lie in its storage folder and in a store, and whose gateway starts no engine."""

    artifacts: str = ""

    def __post_init__(self) -> None:
        self.serve = {"engine_hosts": True, **self.serve}
        super().__post_init__()
        self.ledger.close()
        self.ledger = Ledger(self.settings.database_url, root=self.settings.root)  # so that paths are relative to it

    def publish(self, id: str, **facts: Any) -> ModelVersion:
        """Publish a version, and store its files."""
        path = self.settings.root / "artifacts" / id
        answers = {"tokens": PROBE.tokens, "logprob": -0.5, "answer": '{"intent": "card"}', "name": id}
        with writing(path, {"run_id": id}) as aside:
            write_json(aside / "answers.json", answers | facts)
        put_artifact(open_store(self.artifacts, PATIENCE_SECONDS), path)
        assert read_manifest(path).files
        return self.record(id, path, Fingerprint(probes=(PROBE,)))


@dataclass
class Host:
    """An engine host, whose agent may be started, killed and started again."""

    world: HostedWorld
    folder: Path
    name: str
    address: str = "127.0.0.1"
    before: Sequence[str] = ()
    """Words before its command, such as those that enter a network namespace."""
    storage: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        raw = yaml.safe_load(self.world.config_path.read_text())
        url = self.world.settings.database_url
        raw["storage"] = {"database_url": url, "artifacts": self.world.artifacts, **self.storage}
        raw["serve"] |= {"health_interval_seconds": 1}
        self.config_path = self.folder / "driftwheel.yaml"
        self.config_path.write_text(yaml.safe_dump(raw), encoding="utf-8")
        self.log_path = self.folder / "agent.log"

    @property
    def root(self) -> Path:
        """Its storage folder."""
        return self.folder / ".driftwheel"

    def start(self, name: str = "") -> None:
        """Start the agent."""
        argv = [*self.before, sys.executable, "-m", "tests.support.engine_hosts"]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*argv, str(self.config_path), name or self.name, self.address],
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
            )

    def kill(self) -> None:
        """Kill the agent at once; its engines end with it."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(60)

    def stop(self) -> None:
        """End it, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)

    def report(self) -> HostReport | None:
        """Return what it last said."""
        return find_report(self.world.ledger, self.world.settings.alias_key, self.name)

    def states(self) -> dict[str, EngineState]:
        """Return the state of each version there."""
        report = self.report()
        return {engine.version_id: engine.state for engine in report.engines} if report else {}


if __name__ == "__main__":
    settings = load_settings(sys.argv[1])
    with closing(Ledger(settings.database_url, root=settings.root)) as ledger:
        claim = NameClaim(ledger, settings.alias_key, sys.argv[2], settings.root, sys.argv[3])
        uvloop.run(host_engines(settings.serve, settings.storage, ledger, claim, settings.root, fake_gateway.start))
