"""The circle turns on real parts: files, TRL, quantizer, vLLM, gateway, feedback, worker, gate, swap under load.

The model is small and the first version is stopped early, so that the retrained one must win; the demo holds the
numbers to their bars, this test holds the wiring.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from driftwheel.control.retrain_limits import UNFINISHED
from driftwheel.records.bookkeeping import Step
from driftwheel.records.nouns import (
    Alias,
    Dataset,
    DecisionStatus,
    Deployment,
    DeploymentStage,
    ModelVersion,
    RetrainDecision,
    Traffic,
)
from driftwheel.settings.load import load_settings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from examples.support import build_base
from examples.support.demo_loop import Demo, running, until, wait_until_ready
from examples.support.load import Client, mean_grade
from examples.support.prepare import CONFIG, choose_ports, write_seed
from examples.support.task import Speaking
from examples.support.world import messages
from tests.support.retrains import ask_for_retrain
from train.worker import STEPS

pytestmark = pytest.mark.timeout(1500)

KEY = "loop-test-key-4f9Lq2xz"
OVERRIDES = {
    "dataset": {"replay_share": 1},
    "train": {"num_train_epochs": 6, "eval_steps": 40},
    "evaluate": {"baseline_items": 0, "max_items": 300},
    "gate": {"min_items": 30},
    "policy": {"min_fresh_labels": 100_000},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model by the example's own code, with fewer steps."""
    steps = build_base.RECIPE["steps"]
    build_base.RECIPE["steps"] = 60
    try:
        return build_base.build_base(tmp_path_factory.mktemp("base") / "base")
    finally:
        build_base.RECIPE["steps"] = steps


@pytest.fixture
def settings(tmp_path: Path, base: Path) -> Settings:
    """The demo's settings on a temporary folder and free ports."""
    raw = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    raw["model"]["base"] = str(base)
    for section, values in OVERRIDES.items():
        raw[section].update(values)
    choose_ports(raw)
    write_seed(tmp_path / "seed.jsonl", messages(900, 1, "steady"))
    path = tmp_path / "driftwheel.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    return load_settings(path)


@pytest.fixture
def demo(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Demo]:
    """The demo's driver around those settings."""
    from rich.console import Console

    monkeypatch.setenv("DRIFTWHEEL_API_KEYS", KEY)
    ledger = Ledger(settings.database_url)
    client = Client(f"http://127.0.0.1:{settings.serve.port}", KEY, settings.serve.alias)
    yield Demo(Console(stderr=True), settings, ledger, client)
    ledger.close()


def test_labelled_traffic_becomes_a_better_version_that_serves_without_a_failed_request(demo: Demo) -> None:
    settings, ledger = demo.settings, demo.ledger
    dataset = demo.verb("data", "build")
    run = demo.verb("train", "--dataset", dataset["id"], overrides=["train.max_steps=30", "train.eval_steps=30"])
    first = demo.verb("publish", "--run", run["id"], "--no-baseline")
    assert first["status"] == "published"
    demo.verb("promote", first["id"], "--no-wait")
    with running(settings) as up:
        decision = asyncio.run(go_around(demo))
    assert up.returncode == 0

    steps = {s.name: s.status for s in ledger.find(Step, decision_id=decision.id)}
    assert steps == {step.name: "done" for step in STEPS}
    second = ledger.get(ModelVersion, str(decision.version_id))
    assert decision.status is DecisionStatus.PROMOTED, second.verdict
    assert ledger.get(Dataset, second.dataset_id).origin == decision.id
    assert ledger.get(Alias, "support/support").observed_version_id == second.id
    stages = {d.version_id: d.stage for d in ledger.find(Deployment, newest_first=False)}
    assert stages == {first["id"]: DeploymentStage.RETIRED, second.id: DeploymentStage.RETIRED}, (
        "everything is stopped at the end"
    )


async def go_around(demo: Demo) -> RetrainDecision:
    """Send labelled traffic, ask for a retrain, swap under load; every request must be answered and logged."""
    await wait_until_ready(demo)
    before = await demo.client.send(messages(400, 3, "shifted"), speaking=Speaking(corrected_share=1.0))
    asked = ask_for_retrain(demo.settings, demo.ledger, "loop test")
    deadline = asyncio.get_running_loop().time() + 1000
    async with demo.client.load(messages(200, 5, "shifted"), per_second=5) as during:
        await until(lambda: demo.ledger.get(RetrainDecision, asked.id).status not in UNFINISHED, deadline)
        await asyncio.sleep(2)
    after = await demo.client.send(messages(100, 6, "shifted"))
    await demo.client.close()
    decision = demo.ledger.get(RetrainDecision, asked.id)
    assert decision.status is DecisionStatus.PROMOTED, (decision.error, decision.reasons)
    everything = [*before, *during, *after]
    assert [r.error for r in everything if r.error] == []
    assert {r.version_id for r in during} == {r.version_id for r in (before[0], after[0])}
    assert mean_grade(after) > mean_grade(before)
    logged = {t.id: t for t in demo.ledger.find(Traffic, TABLES[Traffic].c.status_code == 200)}
    for reply in everything:
        row = logged[reply.request_id]
        assert (row.answer, row.version_id) == (reply.text, reply.version_id)
    return decision
