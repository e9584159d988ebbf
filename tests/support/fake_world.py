"""A loop for tests: versions on fake engines, the gateway process in front of them, and clients."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from driftwheel.files.artifacts import read_manifest, write_json, writing
from driftwheel.machine.system import free_port
from driftwheel.records.nouns import Alias, Deployment, DeploymentStage, ModelVersion
from driftwheel.records.probe_answers import Fingerprint, ProbeAnswer
from driftwheel.settings.load import load_settings
from driftwheel.store.ledger import Ledger
from tests.support.versions import add_with_parents, published_version

KEY = "0123456789abcdef-fake-world"
ALIAS = "support"
PROBE = ProbeAnswer(messages=({"role": "user", "content": "hi"},), tokens=("{}", "."), logprobs=(-0.5, -0.5))


@dataclass
class Answer:
    """What a client got, and when."""

    at: float
    status: int
    version_id: str
    seconds: float
    text: str = ""


@dataclass
class World:
    """A loop on a folder; its gateway may be started, killed and started again."""

    folder: Path
    serve: dict[str, Any] = field(default_factory=dict)
    database_url: str | None = None
    process: "subprocess.Popen[bytes] | None" = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        defaults = {
            "alias": ALIAS,
            "port": free_port(),
            "health_interval_seconds": 1,
            "canary_seconds": 1,
            "start_timeout_seconds": 120,
            "drain_timeout_seconds": 10,
        }
        raw = {
            "project": "support",
            "model": {"base": "base"},
            "dataset": {"sources": ["seed.jsonl"], "label_field": "intent"},
            "serve": defaults | self.serve,
            "storage": {"database_url": self.database_url},
        }
        self.config_path = self.folder / "driftwheel.yaml"
        self.config_path.write_text(yaml.safe_dump(raw), encoding="utf-8")
        self.settings = load_settings(self.config_path, environ={})
        self.ledger = Ledger(self.settings.database_url)
        self.url = f"http://127.0.0.1:{self.settings.serve.port}"
        self.log_path = self.folder / "gateway.log"

    def publish(self, id: str, **facts: Any) -> ModelVersion:
        """Publish a version whose fake engine answers with the given facts."""
        path = self.folder / "artifacts" / id
        answers = {"tokens": PROBE.tokens, "logprob": -0.5, "answer": '{"intent": "card"}', "name": id}
        with writing(path, {"run_id": id}) as aside:
            write_json(aside / "answers.json", answers | facts)
        return self.record(id, path, Fingerprint(probes=(PROBE,)))

    def record(self, id: str, path: Path, fingerprint: Fingerprint) -> ModelVersion:
        """Write down an artifact as a published version."""
        version = published_version(
            id, path=str(path), manifest_hash=read_manifest(path).content_hash, fingerprint=fingerprint
        )
        add_with_parents(self.ledger, version)
        return version

    def start(self, crash_at: str = "", plant: str = "") -> None:
        """Start the gateway process, perhaps with a planted bug."""
        planted = {"DRIFTWHEEL_CRASH_AT": crash_at, "DRIFTWHEEL_PLANT": plant}
        environment = {**os.environ, "DRIFTWHEEL_API_KEYS": KEY, **planted}
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.fake_gateway", str(self.config_path)],
                stdout=log,
                stderr=log,
                env=environment,
            )

    def stop(self) -> None:
        """End the gateway and its engines."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)
        self.ledger.close()

    def alias(self) -> Alias:
        """Return the alias row."""
        return self.ledger.get(Alias, f"support/{ALIAS}")

    def is_settled(self) -> bool:
        """Say whether what is desired is served, or was refused."""
        alias = self.alias()
        return alias.observed_fence == alias.fence and alias.observed_version_id is not None

    def stages(self) -> dict[str, DeploymentStage]:
        """Return each version's newest stage."""
        return {row.version_id: row.stage for row in self.ledger.find(Deployment, newest_first=False)}

    def until(self, holds: Callable[[], object], timeout_seconds: float = 180.0) -> float:
        """Wait until something holds and return how long that took; raises TimeoutError."""
        began_at = time.monotonic()
        while not holds():
            if time.monotonic() - began_at > timeout_seconds:
                raise TimeoutError(f"{self.stages()} {self.log_path.read_text()[-3000:]}")
            time.sleep(0.02)
        return time.monotonic() - began_at

    def engine_ids(self, version_id: str) -> list[int]:
        """Return the process ids of a version's engines, oldest first."""
        listing = subprocess.check_output(["ps", "-eww", "-o", "pid,ppid,args", "--sort=start_time"], text=True)
        rows = [line.split(maxsplit=2) for line in listing.splitlines()[1:]]
        parent = str(self.process.pid) if self.process else ""
        return [int(pid) for pid, ppid, args in rows if ppid == parent and f" {version_id} " in f"{args} "]

    def signal_engine(self, version_id: str, number: signal.Signals) -> int:
        """Send a signal to a version's first engine and return its process id."""
        process_id = self.engine_ids(version_id)[0]
        os.kill(process_id, number)
        return process_id

    async def load(self, per_second: float, seconds: float, until: Callable[[], bool] | None = None) -> list[Answer]:
        """Ask at a steady rate, each request in its own time; return what came back, in the order of asking."""
        async with aiohttp.ClientSession(headers={"authorization": f"Bearer {KEY}"}) as session:
            began_at, tasks = time.monotonic(), list[asyncio.Task[Answer]]()
            while time.monotonic() - began_at < seconds and not (until is not None and until()):
                tasks.append(asyncio.create_task(self._ask(session, len(tasks))))
                await asyncio.sleep(max(0.0, began_at + len(tasks) / per_second - time.monotonic()))
            return list(await asyncio.gather(*tasks))

    async def _ask(self, session: aiohttp.ClientSession, number: int) -> Answer:
        began_at = time.monotonic()
        body = {"model": ALIAS, "messages": [{"role": "user", "content": f"message {number}"}], "user": f"u{number}"}
        try:
            async with session.post(f"{self.url}/v1/chat/completions", json=body) as response:
                body = await response.json()
                version = response.headers.get("x-driftwheel-version", "")
                text = body["choices"][0]["message"]["content"] if response.status == 200 else ""
                return Answer(began_at, response.status, version, time.monotonic() - began_at, text)
        except aiohttp.ClientError:
            return Answer(began_at, 0, "", time.monotonic() - began_at)
