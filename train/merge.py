"""A TrainingRun's adapter and its base become one model: merged in float32, then cast.

python -m train merge --config driftwheel.yaml --run RUN_ID
"""

from pathlib import Path
from typing import Any

from driftwheel import artifacts
from driftwheel.errors import ArtifactError, ConflictError
from driftwheel.records import TrainingRun, TrainingRunStatus
from driftwheel.settings.data import ModelSettings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from train.base_model import identity, load_tokenizer, load_weights
from train.fidelity.pins import check_pins, read_pins
from train.runs import WHOLE, weights_path


def merge(settings: Settings, ledger: Ledger, run_id: str) -> Path:
    """Write a run's whole model as an artifact, or find it written already, and return its folder.

    Raises ConflictError if the run has not succeeded, ArtifactError if its weights or its base were changed.
    """
    run = ledger.get(TrainingRun, run_id)
    target = Path(run.path) / "merged"
    dtype, weights = settings.merge.dtype, weights_path(run)
    if artifacts.is_complete(target) and artifacts.is_complete(weights):
        known = artifacts.read_manifest(target)
        if (known.get("dtype"), known.get("weights_hash")) == (dtype, artifacts.read_manifest(weights)["content_hash"]):
            return target
    if run.status is not TrainingRunStatus.SUCCEEDED:
        raise ConflictError(f"{run_id} is {run.status}: only a run that succeeded can be merged; run finetune again")
    trained = artifacts.verify(weights)
    model = whole_model(settings, run, weights)
    facts = {
        "run_id": run.id,
        "dataset_id": run.dataset_id,
        "base_model": run.base_model,
        "dtype": dtype,
        "weights_hash": trained["content_hash"],
    }
    with artifacts.writing(target, facts) as folder:
        _cast(model, dtype).save_pretrained(folder)
        load_tokenizer(str(weights)).save_pretrained(folder)
        facts |= read_pins(folder)
        check_pins("merged", trained, facts)
    return target


def whole_model(settings: Settings, run: TrainingRun, source: Path) -> Any:
    """Return the run's model in float32.

    Merging in float32 keeps the result within 1e-6 of the adapter's own logits; in bfloat16 it is off by 1e-2.
    """
    if weights_path(run).name == WHOLE:
        return load_weights(str(source), "float32")
    from peft import PeftModel

    if identity(base_of(settings, run)) != run.settings["base_identity"]:
        raise ArtifactError(
            f"the base model {settings.model.base!r} is not the one that {run.id} was trained on; "
            "set model.base back to it, or fine-tune again"
        )
    base = load_weights(run.base_model, "float32", revision=run.settings["model"]["revision"])
    return PeftModel.from_pretrained(base, source).merge_and_unload(safe_merge=True)


def base_of(settings: Settings, run: TrainingRun) -> Settings:
    """Return the settings with the run's base: their own, or the merged model of a run that this one went on from."""
    if settings.root / "runs" not in Path(run.base_model).parents:
        return settings
    return settings.model_copy(update={"model": ModelSettings(base=run.base_model)})


def _cast(model: Any, dtype: str) -> Any:
    import torch

    return model.to(getattr(torch, dtype))
