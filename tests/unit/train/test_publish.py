"""Finished evaluations become verdicts and versions, on a real ledger and real folders."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from driftwheel import artifacts
from driftwheel.config import Settings
from driftwheel.errors import ArtifactError, GateError, ParityError
from driftwheel.ledger import Ledger
from driftwheel.records import Dataset, ModelVersion, ModelVersionStatus, TrainingRun
from train.metrics import Scored, score
from train.publish import card_path, evaluate_and_judge, judge_candidate, publish
from train.scoring import evaluation_folder

ITEMS = 200
SAME = {"items": 200, "agreeing": 200, "mean_logprob_difference": 0.001, "loss_share": 0.02, "accuracy": 0.85}
TABLE: list[dict[str, Any]] = [
    {"hop": "trained", "items": 200, "accuracy": 0.85},
    {"hop": "merged", "against": "trained", **SAME},
    {"hop": "quantized", "against": "merged", **SAME},
    {"hop": "served", "against": "quantized", **SAME},
]


def add_dataset(settings: Settings, ledger: Ledger, name: str) -> Dataset:
    path = settings.root / "datasets" / name
    with artifacts.writing(path, {}) as folder:
        (folder / "test.jsonl").write_text(f"{name}\n", encoding="utf-8")
    digest = artifacts.read_manifest(path)["content_hash"]
    record = Dataset(id=name, project="support", content_hash=digest, path=str(path), origin="files", train_rows=1000,
                     validation_rows=100, test_rows=ITEMS)  # fmt: skip
    ledger.add(record)
    return record


@pytest.fixture
def dataset(settings: Settings, ledger: Ledger) -> Dataset:
    return add_dataset(settings, ledger, "dataset_1")


def built(settings: Settings, ledger: Ledger, number: int) -> Path:
    """A run in the ledger and its artifact."""
    run = TrainingRun(
        id=f"run_{number}",
        project="support",
        dataset_id="dataset_1",
        base_model="org/base|model",
        method="lora",
        settings={"learning_rate": 0.003, "lora_r": 16},
        settings_hash="abc",
        seed=7,
        path=f"runs/run_{number}",
        metrics={"eval_loss": 0.25},
    )
    ledger.add(run)
    path = settings.root / "artifacts" / f"run_{number}-w8a8"
    with artifacts.writing(path, {"run_id": run.id, "quantization": "w8a8", "template_hash": "t"}) as folder:
        (folder / "model.safetensors").write_bytes(f"weights {number}".encode())
    return path


def scored(
    settings: Settings,
    dataset: Dataset,
    artifact: Path,
    right: int,
    baseline: float | None = None,
    table: list[dict[str, Any]] = TABLE,
) -> Path:
    """A finished evaluation in which the first `right` items are right."""
    digest = artifacts.read_manifest(artifact)["content_hash"]
    items = [
        Scored(
            id=f"row-{n}",
            slice="old",
            prompt="q",
            expected="{}",
            answer="{}",
            label="card",
            predicted="card" if n < right else "refund",
            is_correct=n < right,
            latency_seconds=0.1,
            mean_logprob=-0.1,
        )
        for n in range(ITEMS)
    ]
    folder = evaluation_folder(settings, dataset, digest)
    with artifacts.writing(folder, {"artifact": digest}) as aside:
        lines = [json.dumps(asdict(item)) + "\n" for item in items]
        (aside / "predictions.jsonl").write_text("".join(lines), encoding="utf-8")
        card = {**score(items, "labels"), "perplexity": 1.5, "dataset_id": dataset.id, "engine_start_seconds": 9.0,
                "parity": table}  # fmt: skip
        artifacts.write_json(aside / "scorecard.json", card)
        artifacts.write_json(aside / "fingerprint.json", {"probes": [{"messages": [], "tokens": [], "logprobs": []}]})
    if baseline is not None:
        place = evaluation_folder(settings, dataset, "baseline", settings.base_model(), settings.model.revision)
        entries = {"plain": {"items": 60, "accuracy": 0.0}, "few_shot": {"items": 60, "accuracy": baseline}}
        with artifacts.writing(place, {}) as aside:
            artifacts.write_json(aside / "baseline.json", entries)
    return folder


def published(settings: Settings, ledger: Ledger, dataset: Dataset, number: int, right: int) -> ModelVersion:
    artifact = built(settings, ledger, number)
    evaluation = scored(settings, dataset, artifact, right, baseline=0.2)
    verdict = judge_candidate(settings, ledger, evaluation=evaluation, dataset_id=dataset.id)
    return publish(settings, ledger, run_id=f"run_{number}", artifact=artifact, evaluation=evaluation, verdict=verdict)


def test_the_first_version_is_published_with_its_lineage_and_scores(
    settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    version = published(settings, ledger, dataset, 1, right=170)
    assert (version.number, version.status, version.quantization) == (1, ModelVersionStatus.PUBLISHED, "w8a8")
    assert "beats the base model's 20.0%" in version.verdict["reason"]
    assert version.scorecard["accuracy"] == 0.85
    assert version.scorecard["baseline"]["few_shot"]["accuracy"] == 0.2
    assert len(version.fingerprint["probes"]) == 1
    known = version.lineage
    assert (known["dataset_hash"], known["run_id"], known["seed"]) == (dataset.content_hash, "run_1", 7)
    assert (known["decision_id"], known["template_hash"]) == (None, "t")
    assert {"python", "torch", "transformers"} <= known["libraries"].keys()
    assert ledger.get(ModelVersion, version.id) == version


def test_the_card_shows_scores_beside_the_baseline_and_names_as_text(
    settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    version = published(settings, ledger, dataset, 1, right=170)
    card = card_path(settings, version.id).read_text(encoding="utf-8")
    assert card.startswith("# support v1\n")
    assert "| accuracy | 0.85 | 0 | 0.2 |" in card
    assert "| served | 200 | 0.85 | quantized |" in card, "the parity table"
    assert "org/base\\|model" in card, "a bar would end the table cell"
    headings = ("## Data", "## Training", "## Gate\n\n**PROMOTE**", "## Limits", "## Lineage")
    for part in (*headings, version.manifest_hash, "run_1", "| lora\\_r | 16 |"):
        assert part in card


def test_publishing_again_returns_the_version_that_there_is(
    settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    first = published(settings, ledger, dataset, 1, right=170)
    card_path(settings, first.id).unlink()
    again = publish(
        settings,
        ledger,
        run_id="run_1",
        artifact=Path(first.path),
        evaluation=evaluation_folder(settings, dataset, first.manifest_hash),
        verdict=first.verdict,
    )
    assert (again, ledger.count(ModelVersion)) == (first, 1)
    assert card_path(settings, first.id).is_file(), "a card lost in a crash is written again"


@pytest.mark.parametrize(
    ("right", "verdict", "status"),
    [
        pytest.param(190, "PROMOTE", ModelVersionStatus.PUBLISHED, id="better than the live version"),
        pytest.param(40, "REJECT", ModelVersionStatus.REJECTED, id="worse than the live version"),
        pytest.param(171, "INCONCLUSIVE", ModelVersionStatus.REJECTED, id="hardly any different"),
    ],
)
def test_the_gate_decides_against_the_live_version(
    settings: Settings, ledger: Ledger, dataset: Dataset, right: int, verdict: str, status: ModelVersionStatus
) -> None:
    live = published(settings, ledger, dataset, 1, right=170)
    ledger.move_alias("support", "support", live.id)
    version = published(settings, ledger, dataset, 2, right=right)
    assert (version.verdict["verdict"], version.status, version.number) == (verdict, status, 2)
    assert version.verdict["live_version_id"] == live.id
    assert version.lineage["judged_against"] == live.id


def test_each_further_candidate_on_the_same_items_is_judged_more_strictly(
    settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    live = published(settings, ledger, dataset, 1, right=170)
    ledger.move_alias("support", "support", live.id)
    versions = [published(settings, ledger, dataset, n, right=171) for n in (2, 3)]
    assert [v.verdict["confidence"] for v in versions] == [pytest.approx(0.95), pytest.approx(0.975)]
    folder = evaluation_folder(settings, dataset, versions[1].manifest_hash)
    again = judge_candidate(settings, ledger, evaluation=folder, dataset_id=dataset.id)
    assert again == versions[1].verdict, "judging the same candidate again is no further look"


def test_evaluate_and_judge_uses_the_runs_dataset_and_finished_evaluations(
    settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    artifact = built(settings, ledger, 1)
    folder = scored(settings, dataset, artifact, right=170, baseline=0.9)
    evaluation, verdict = evaluate_and_judge(settings, ledger, run_id="run_1", artifact=artifact)
    assert (evaluation.folder, verdict["verdict"]) == (folder, "REJECT")
    assert "does not beat the base model's 90.0%" in verdict["reason"]


@pytest.mark.parametrize(
    ("table", "error", "says"),
    [
        pytest.param([], GateError, "without a parity table", id="no table"),
        pytest.param(TABLE[:3], GateError, "without a parity table", id="the endpoint was not compared"),
        pytest.param(
            [*TABLE[:2], TABLE[2] | {"agreeing": 160}, TABLE[3]],
            ParityError,
            "quantized model .*greedy answers.*160 of 200",
            id="quantizing changed answers",
        ),
        pytest.param(
            [*TABLE[:3], TABLE[3] | {"loss_share": None}],
            ParityError,
            "served model .*not numbers",
            id="the endpoint gives no numbers",
        ),
    ],
)
def test_what_is_not_what_was_trained_is_not_published(
    settings: Settings,
    ledger: Ledger,
    dataset: Dataset,
    table: list[dict[str, Any]],
    error: type[Exception],
    says: str,
) -> None:
    artifact = built(settings, ledger, 1)
    folder = scored(settings, dataset, artifact, right=170, table=table)
    with pytest.raises(error, match=says):
        publish(settings, ledger, run_id="run_1", artifact=artifact, evaluation=folder,
                verdict={"verdict": "PROMOTE", "reason": ""})  # fmt: skip
    assert ledger.count(ModelVersion) == 0


def test_what_does_not_belong_together_is_refused(settings: Settings, ledger: Ledger, dataset: Dataset) -> None:
    artifact, other = built(settings, ledger, 1), built(settings, ledger, 2)
    folder = scored(settings, dataset, artifact, right=170)
    add_dataset(settings, ledger, "dataset_2")
    with pytest.raises(GateError, match="not on dataset_2"):
        judge_candidate(settings, ledger, evaluation=folder, dataset_id="dataset_2")
    verdict: dict[str, Any] = {"verdict": "PROMOTE", "reason": ""}
    for run_id, path, says in [("run_2", artifact, "not from run_2"), ("run_2", other, "another artifact")]:
        with pytest.raises(ArtifactError, match=says):
            publish(settings, ledger, run_id=run_id, artifact=path, evaluation=folder, verdict=verdict)
    (artifact / "model.safetensors").write_bytes(b"tampered")
    with pytest.raises(ArtifactError, match="does not match"):
        publish(settings, ledger, run_id="run_1", artifact=artifact, evaluation=folder, verdict=verdict)
    assert ledger.count(ModelVersion) == 0
