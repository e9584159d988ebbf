"""A model at an endpoint, here a real vLLM, rewords training rows and test items, and judges two versions' answers."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from driftwheel import artifacts
from driftwheel.config import Settings, load_settings
from driftwheel.ledger import Ledger
from driftwheel.records import Dataset, Judgement, ModelVersion, ModelVersionStatus
from examples.support.world import answer, messages
from train.dataset import build_dataset, read_splits
from train.evaluate import evaluate
from train.evaluation.engine_child import engine
from train.evaluation.robustness import FAULTS
from train.evaluation.scoring_client import Endpoint


@dataclass
class World:
    """A project whose second model is an engine that runs."""

    settings: Settings
    ledger: Ledger
    endpoint: Endpoint
    artifact: Path


def talker(model_path: Path, folder: Path) -> Path:
    """Copy a random model as one that ends its answers: every seventh token is an end to it."""
    with artifacts.writing(folder, {}) as aside:
        for file in model_path.iterdir():
            if file.name != artifacts.MANIFEST:
                shutil.copy(file, aside / file.name)
        path = aside / "generation_config.json"
        generation = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(generation | {"eos_token_id": list(range(2, 1536, 7))}), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Path) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("second")
    rows = [{"prompt": e.text, "completion": answer(e)} for e in messages(150, 0, "steady")]
    (folder / "seed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    raw = {
        "project": "support",
        "model": {"base": str(tiny_model_dir)},
        "dataset": {"sources": ["seed.jsonl"], "label_field": "intent", "test_share": 0.15},
        "serve": {"alias": "support", "kv_cache_gib": 1, "max_model_len": 1536, "enforce_eager": True},
        "evaluate": {"max_tokens": 24, "robustness_items": 20, "max_items": 20},
    }
    path = folder / "driftwheel.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    artifact = talker(tiny_model_dir, folder / "talker")
    with engine(load_settings(path, environ={}), ["--artifact", str(artifact)]) as endpoint:
        raw["dataset"] |= {"paraphrase_url": endpoint.url, "paraphrase_model": endpoint.model}
        raw["evaluate"] |= {"judge_url": f"{endpoint.url}/v1", "judge_model": endpoint.model}
        path.write_text(yaml.safe_dump(raw), encoding="utf-8")
        settings = load_settings(path, environ={})
        ledger = Ledger(settings.database_url)
        yield World(settings, ledger, endpoint, artifact)
        ledger.close()


@pytest.fixture(scope="module")
def dataset(world: World) -> Dataset:
    return build_dataset(world.settings, world.ledger)


def test_training_rows_are_reworded_by_a_real_engine_and_each_answer_is_accounted_for(
    world: World, dataset: Dataset
) -> None:
    splits = read_splits(dataset)
    made = [e for e in splits["train"] if e.source == "paraphrase"]
    dropped = {reason: n for reason, n in dataset.report["dropped"].items() if reason.startswith("paraphrase: ")}
    print(dataset.report["paraphrases"], len(made), dropped, [e.text for e in made[:5]])
    assert len(made) > 0
    assert len(made) + sum(dropped.values()) == dataset.report["paraphrases"]["asked"] > 30
    assert {e.model for e in made} == {world.endpoint.model}
    assert build_dataset(world.settings, world.ledger) == dataset


def test_test_items_are_reworded_by_a_real_engine_and_asked_again(world: World, dataset: Dataset) -> None:
    found = evaluate(
        world.settings, world.ledger, artifact=world.artifact, dataset_id=dataset.id, endpoint=world.endpoint
    ).scorecard["robustness"]
    print(json.dumps(found["paraphrase"]))
    assert found.keys() >= {*FAULTS, "paraphrase"} - {"punctuation"}
    assert found["paraphrase"]["items"] > 0
    assert "note" not in found["paraphrase"]


def test_a_real_engine_judges_each_pair_in_both_orders(
    world: World, dataset: Dataset, other_tiny_model_dir: Path
) -> None:
    brief = world.settings.model_copy(
        update={"evaluate": world.settings.evaluate.model_copy(update={"max_tokens": 2, "robustness_items": 0})}
    )
    for number, (settings, artifact) in enumerate(((world.settings, world.artifact), (brief, other_tiny_model_dir)), 1):
        done = evaluate(settings, world.ledger, artifact=artifact, dataset_id=dataset.id, endpoint=world.endpoint)
        world.ledger.add(
            ModelVersion(
                id=f"version_{number}", project="support", status=ModelVersionStatus.PUBLISHED, number=number,
                run_id="run", dataset_id=dataset.id, base_model="base", path=str(artifact), quantization="none",
                manifest_hash=artifacts.read_manifest(artifact)["content_hash"], scorecard=done.scorecard,
            )
        )  # fmt: skip
    argv = [sys.executable, "-m", "train", "judge", "--first", "version_1", "--second", "version_2"]
    argv += ["--config", str(world.settings.path)]
    said = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    print(said.stdout)
    assert said.returncode == 0, said.stderr
    judgements = world.ledger.find(Judgement)
    assert len(judgements) > 5
    assert f"was asked about {len(judgements)} items in both orders" in said.stdout
