"""A model at an endpoint, here a real vLLM, rewords training rows and test items, and judges two versions' answers."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml

from driftwheel.files import artifacts
from driftwheel.records.bookkeeping import Judgement
from driftwheel.records.gate_verdict import GateVerdict
from driftwheel.records.nouns import Dataset, ModelVersion, ModelVersionStatus
from driftwheel.settings.load import load_settings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from examples.support.world import answer, messages
from tests.support.versions import add_with_parents, published_version, run_stub
from train.asking.client import Endpoint
from train.asking.engine_child import engine
from train.data.splitting.dataset_files import read_splits
from train.dataset import build_dataset
from train.evaluate import evaluate
from train.evaluation.prompt_trial import try_prompts
from train.evaluation.robustness import FAULTS
from train.evaluation.scoring import ask, read_split, sample
from train.prompts.prompt_file import Prompt, Shot, with_prompt
from train.prompts.prompted import write_prompted
from train.publish import publish

LM_EVAL_PYTHON = os.environ.get("DRIFTWHEEL_TEST_LM_EVAL_PYTHON")
"""Saves making its environment, where there is one already."""


@dataclass
class World:
    """A project whose second model is an engine that runs."""

    settings: Settings
    ledger: Ledger
    endpoint: Endpoint
    artifact: Path


def talker(model_path: Path, folder: Path) -> Path:
    """Copy a random model as one that ends its answers: every third token is an end to it."""
    with artifacts.writing(folder, {}) as aside:
        for file in model_path.iterdir():
            if file.name != artifacts.MANIFEST:
                shutil.copy(file, aside / file.name)
        path = aside / "generation_config.json"
        generation = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(generation | {"eos_token_id": list(range(2, 1536, 3))}), encoding="utf-8")
    return folder


def write_task(folder: Path) -> None:
    """Write a task of lm-eval's with two choices to each question, and its data beside it."""
    folder.mkdir()
    rows = [{"question": f"what says number {n}", "choices": ["woof", "meow"], "answer": n % 2} for n in range(8)]
    data = folder / "animals.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    task = {
        "task": "animals",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": "{{question}}:",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    (folder / "animals.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Path) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("second")
    rows = [{"prompt": e.text, "completion": answer(e)} for e in messages(150, 0, "steady")]
    (folder / "seed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    raw: dict[str, Any] = {
        "project": "support",
        "model": {"base": str(tiny_model_dir)},
        "dataset": {"sources": ["seed.jsonl"], "label_field": "intent", "test_share": 0.15},
        "serve": {"alias": "support", "kv_cache_gib": 1, "max_model_len": 1536, "enforce_eager": True},
        "evaluate": {
            "max_tokens": 24,
            "robustness_items": 20,
            "max_items": 20,
            "general_tasks": ["animals"],
            "general_path": "tasks",
            "general_items": 6,
            "lm_eval_python": LM_EVAL_PYTHON,
        },
    }
    write_task(folder / "tasks")
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
    dropped = {reason: n for reason, n in dataset.report.dropped.items() if reason.startswith("paraphrase: ")}
    assert len(made) > 0
    assert len(made) + sum(dropped.values()) == dataset.report.paraphrases.asked > 30
    assert {e.model for e in made} == {world.endpoint.model}
    assert build_dataset(world.settings, world.ledger) == dataset


def test_test_items_are_reworded_by_a_real_engine_and_asked_again(world: World, dataset: Dataset) -> None:
    found = evaluate(
        world.settings, world.ledger, artifact=world.artifact, dataset_id=dataset.id, endpoint=world.endpoint
    ).scorecard.robustness
    assert found is not None
    assert found.keys() >= {*FAULTS, "paraphrase"} - {"punctuation"}
    assert found["paraphrase"].items > 0
    assert found["paraphrase"].note is None


def test_general_tasks_are_asked_of_a_real_engine_with_the_probability_that_it_gives_each_choice(
    world: World, dataset: Dataset
) -> None:
    card = evaluate(
        world.settings, world.ledger, artifact=world.artifact, dataset_id=dataset.id, endpoint=world.endpoint
    ).scorecard
    assert card.general is not None
    found = card.general["animals"]
    score = found["acc"]
    assert isinstance(score, tuple)
    assert found["items"] == 6
    assert 0 <= score[0] <= 1
    assert score[1] is not None
    right = 0
    for number in range(6):
        scores = [chosen(world.endpoint, f"what says number {number}:", f" {word}") for word in ("woof", "meow")]
        right += scores.index(max(scores)) == number % 2
    assert score[0] == pytest.approx(right / 6)


def chosen(endpoint: Endpoint, question: str, choice: str) -> float:
    """Return the log-probability of a choice after a question, by vLLM's own way to tell it."""
    with openai.OpenAI(base_url=f"{endpoint.url}/v1", api_key="none") as client:
        lengths = [
            client.completions.create(
                model=endpoint.model, prompt=text, max_tokens=1, extra_body={"prompt_logprobs": 0}
            )
            for text in (question, question + choice)
        ]
    entries = [(reply.choices[0].model_extra or {})["prompt_logprobs"] for reply in lengths]
    return sum(float(next(iter(e.values()))["logprob"]) for e in entries[1][len(entries[0]) :])


def test_a_real_engine_judges_each_pair_in_both_orders(
    world: World, dataset: Dataset, other_tiny_model_dir: Path
) -> None:
    brief = world.settings.model_copy(
        update={
            "evaluate": world.settings.evaluate.model_copy(
                update={"max_tokens": 2, "robustness_items": 0, "general_tasks": []}
            )
        }
    )
    for number, (settings, artifact) in enumerate(((world.settings, world.artifact), (brief, other_tiny_model_dir)), 1):
        done = evaluate(settings, world.ledger, artifact=artifact, dataset_id=dataset.id, endpoint=world.endpoint)
        add_with_parents(
            world.ledger,
            published_version(
                f"version_{number}",
                number=number,
                dataset_id=dataset.id,
                path=str(artifact),
                manifest_hash=artifacts.read_manifest(artifact).content_hash,
                scorecard=done.scorecard,
            ),
        )
    argv = [sys.executable, "-m", "train", "judge", "--first", "version_1", "--second", "version_2"]
    argv += ["--config", str(world.settings.path)]
    said = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert said.returncode == 0, said.stderr
    judgements = world.ledger.find(Judgement)
    assert len(judgements) > 5
    assert f"was asked about {len(judgements)} items in both orders" in said.stdout


def test_a_prompt_is_served_as_it_was_tried_and_is_a_version(world: World, dataset: Dataset) -> None:
    settings, ledger, digest = world.settings, world.ledger, artifacts.read_manifest(world.artifact).content_hash
    trained = replace(run_stub("run_9"), project="support", dataset_id=dataset.id)
    plain = published_version("version_9", number=9, run_id=trained.id, dataset_id=dataset.id)
    add_with_parents(ledger, trained, replace(plain, path=str(world.artifact), manifest_hash=digest))
    version = ledger.get(ModelVersion, "version_9")
    prompt = Prompt(instructions="Name the intent.", examples=(Shot(prompt="Is {{it}} on?", completion="{}"),))
    none, tried = try_prompts(settings, dataset, version, {"p": prompt}, world.endpoint)
    asked = [row.prompt for row in sample(read_split(dataset, "validation"), 20, settings.dataset.seed)]
    told = [with_prompt(prompt, conversation) for conversation in asked]
    artifact = write_prompted(settings.root, version, prompt)
    with engine(settings, ["--artifact", str(artifact)]) as served:
        found = ask(settings.evaluate, settings.serve, served, asked, "served", with_ids=True)
        expected = ask(settings.evaluate, settings.serve, world.endpoint, told, "tried", with_ids=True)
        brief = settings.evaluate.model_copy(update={"robustness_items": 0, "general_tasks": []})
        brisk = settings.model_copy(update={"evaluate": brief})
        done = evaluate(brisk, ledger, artifact=artifact, dataset_id=dataset.id, endpoint=served)
    assert [answer.text for answer in found] == [answer.text for answer in expected]
    assert [answer.prompt_tokens for answer in found] == [answer.prompt_tokens for answer in expected]
    assert (none.difference, tried.note, tried.difference is not None) == (None, None, True)
    verdict = GateVerdict(verdict="PROMOTE")
    made = publish(brisk, ledger, run_id=version.run_id, artifact=artifact, evaluation=done, verdict=verdict)
    assert (made.status, made.lineage.prompted_from) == (ModelVersionStatus.PUBLISHED, digest)
