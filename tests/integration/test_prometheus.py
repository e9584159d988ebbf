"""A real Prometheus scrapes the exporter and the shipped rules pass their own unit tests."""

import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from driftwheel.machine.system import free_port
from driftwheel.records.nouns import Alias, DriftKind, DriftSignal, DriftVerdict
from driftwheel.records.scorecard import Scorecard, SliceScore
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from monitor.exporter import CheckCounter, start_exporter
from serve.metrics import GatewayMetrics
from tests.support.absent import absent
from tests.support.versions import add_with_parents, published_version

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def binary(name: str) -> str:
    """Return a program's path; a laptop without it skips, CI fails."""
    found = shutil.which(name)
    if found is None:
        absent(name, install="Debian's package prometheus")
    return found


@pytest.mark.parametrize(
    "arguments",
    [["check", "config", "prometheus/prometheus.yml"], ["test", "rules", "prometheus/rules/driftwheel_test.yml"]],
    ids=["configuration", "rules"],
)
def test_promtool_accepts_what_is_shipped(arguments: list[str]) -> None:
    done = subprocess.run(
        [binary("promtool"), *arguments], cwd=DEPLOY, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def exporter_port(settings: Settings, ledger: Ledger) -> Iterator[int]:
    """The exporter over a ledger with a live version in alarm."""
    version = published_version(
        "version_1",
        quantization="w8a8",
        scorecard=Scorecard(accuracy=0.93, slices={"old": SliceScore(items=10, accuracy=0.9)}),
    )
    signal = DriftSignal(
        id="signal_1",
        project="support",
        version_id="version_1",
        kind=DriftKind.INPUT,
        feature="all",
        method="m",
        score=9.5,
        threshold=6.0,
        reference_rows=400,
        current_rows=150,
        verdict=DriftVerdict.DRIFTED,
        check_id="c",
    )
    alias = Alias(
        id="support/support",
        project="support",
        name="support",
        version_id="version_1",
        fence=1,
        observed_version_id="version_1",
        observed_fence=1,
    )
    add_with_parents(ledger, version, signal, alias)
    port = free_port()
    on_port = settings.model_copy(update={"monitor": settings.monitor.model_copy(update={"port": port})})
    server = start_exporter(on_port, ledger, CheckCounter())
    yield port
    server.shutdown()
    server.server_close()


def ask(port: int, query: str) -> list[dict[str, Any]]:
    url = f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            result: list[dict[str, Any]] = json.load(response)["data"]["result"]
            return result
    except OSError:
        return []


def test_a_real_prometheus_scrapes_the_monitor_and_evaluates_the_rules(tmp_path: Path, exporter_port: int) -> None:
    config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(DEPLOY / "prometheus/rules/driftwheel.yml")]
    config["scrape_configs"][1]["static_configs"][0]["targets"] = [f"127.0.0.1:{exporter_port}"]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    port = free_port()
    argv = [
        binary("prometheus"),
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path}/data",
    ]
    server = subprocess.Popen([*argv, f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline and not ask(port, 'driftwheel_drift_detected{kind="input"} == 1'):
            time.sleep(0.3)
        (score,) = ask(port, 'driftwheel_drift_score{feature="all",kind="input"}')
        assert float(score["value"][1]) == 9.5
        (live,) = ask(port, "driftwheel_live_version_info")
        assert live["metric"]["version"] == "version_1"
        (accuracy,) = ask(port, 'driftwheel_eval_score_ratio{metric="accuracy",slice="all"}')
        assert float(accuracy["value"][1]) == 0.93
        while time.monotonic() < deadline and not ask(port, 'ALERTS{alertname="DriftwheelDrift"}'):
            time.sleep(0.3)
        (alert,) = ask(port, 'ALERTS{alertname="DriftwheelDrift"}')
        assert alert["metric"]["alertstate"] == "pending", "the drift has not lasted for half an hour"
    finally:
        server.terminate()
        server.wait(60)


def test_every_metric_in_the_rules_is_one_that_is_exported(settings: Settings, exporter_port: int) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{exporter_port}/metrics", timeout=60) as response:
        text = response.read().decode()
    gateway = [s.name for f in GatewayMetrics().registry.collect() for s in f.samples]
    known = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")} | set(gateway)
    known |= {f.name for f in GatewayMetrics().registry.collect()}
    rules = (DEPLOY / "prometheus/rules/driftwheel.yml").read_text(encoding="utf-8")
    grafana = (DEPLOY / "grafana/dashboards/driftwheel.json").read_text(encoding="utf-8")
    named = set(re.findall(r"\bdriftwheel_[a-z_]+", rules + grafana))
    bases = {name.removesuffix("_total").removesuffix("_bucket") for name in named}
    assert bases - {name.removesuffix("_total").removesuffix("_bucket") for name in known} == set()
