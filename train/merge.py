"""Merges a TrainingRun's adapter into its base model: in float32, then cast.

python -m train merge --config driftwheel.yaml --run RUN_ID
"""

from pathlib import Path
from typing import Any

from driftwheel.errors import ConflictError
from driftwheel.files import artifacts
from driftwheel.records.json_form import as_json
from driftwheel.records.nouns import TrainingRun, TrainingRunStatus
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from train.base_model import load_tokenizer
from train.fidelity.pins import check_pins, read_pins
from train.runs import merged_path, weights_path
from train.step_progress import progress
from train.weights.whole_model import whole_model


def merge(settings: Settings, ledger: Ledger, run_id: str) -> Path:
    """Write a run's whole model as an artifact, or find it written already, and return its folder.

    Raises ConflictError if the run has not succeeded, ArtifactError if its weights or its base were changed.
    """
    run = ledger.get(TrainingRun, run_id)
    target = merged_path(run)
    dtype, weights = settings.merge.dtype, weights_path(run)
    if artifacts.is_complete(target) and artifacts.is_complete(weights):
        known = artifacts.read_manifest(target)
        if (known.dtype, known.weights_hash) == (dtype, artifacts.read_manifest(weights).content_hash):
            return target
    if run.status is not TrainingRunStatus.SUCCEEDED:
        raise ConflictError(f"{run_id} is {run.status}: only a run that succeeded can be merged; run finetune again")
    trained = artifacts.verify(weights)
    facts = {
        "run_id": run.id,
        "dataset_id": run.dataset_id,
        "base_model": run.base_model,
        "dtype": dtype,
        "weights_hash": trained.content_hash,
    }
    with progress("merge"), artifacts.writing(target, facts) as folder:
        model = whole_model(settings.root, settings.base, run, weights)
        _cast(model, dtype).save_pretrained(folder)
        load_tokenizer(str(weights)).save_pretrained(folder)
        pins = read_pins(folder)
        # The manifest is written when the block ends, and so holds what is learned inside.
        facts |= as_json(pins)
        check_pins("merged", trained, pins)
    return target


def _cast(model: Any, dtype: str) -> Any:
    import torch

    return model.to(getattr(torch, dtype))
