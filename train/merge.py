"""A TrainingRun's adapter and its base become one model: merged in float32, then cast.

python -m train merge --config driftwheel.yaml --run RUN_ID
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from driftwheel import artifacts
from driftwheel.command import add_common_arguments, open_ledger, settings_from
from driftwheel.config import Settings
from driftwheel.errors import ArtifactError, ConflictError
from driftwheel.ledger import Ledger
from driftwheel.records import TrainingRun, TrainingRunStatus
from train.base_model import identity, load_tokenizer, load_weights
from train.finetune import weights_path
from train.pins import check_pins, read_pins


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
    model = _whole_model(settings, run, weights)
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


def _whole_model(settings: Settings, run: TrainingRun, source: Path) -> Any:
    """Return the run's model in float32.

    Merging in float32 keeps the result within 1e-6 of the adapter's own logits; in bfloat16 it is off by 1e-2.
    """
    if run.method == "full":
        return load_weights(str(source), "float32")
    from peft import PeftModel

    if identity(settings) != run.settings["base_identity"]:
        raise ArtifactError(
            f"the base model {settings.model.base!r} is not the one that {run.id} was trained on; "
            "set model.base back to it, or fine-tune again"
        )
    base = load_weights(run.base_model, "float32", revision=settings.model.revision)
    return PeftModel.from_pretrained(base, source).merge_and_unload(safe_merge=True)


def _cast(model: Any, dtype: str) -> Any:
    import torch

    return model.to(getattr(torch, dtype))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    parser.add_argument("--run", metavar="RUN_ID", help="training run to merge (the newest)")


def main(arguments: argparse.Namespace) -> None:
    """Merge and print the folder."""
    settings = settings_from(arguments)
    ledger = open_ledger(settings)
    run_id = arguments.run or ledger.newest(TrainingRun, settings.project).id
    path = merge(settings, ledger, run_id)
    sys.stdout.write((json.dumps({"path": str(path)}) if arguments.json else str(path)) + "\n")
