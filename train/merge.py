"""A TrainingRun's adapter and its base become one model: merged in float32, then cast.

python -m train merge --config driftwheel.yaml --run RUN_ID
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from driftwheel import artifacts
from driftwheel.command import add_common_arguments, open_ledger, print_record, settings_from
from driftwheel.config import ModelSettings, Settings
from driftwheel.errors import ArtifactError, ConflictError
from driftwheel.ledger import Ledger
from driftwheel.records import TrainingRun, TrainingRunStatus
from train.base_model import identity, load_tokenizer, load_weights
from train.fidelity.pins import check_pins, read_pins
from train.finetune import WHOLE, newest_run, weights_path


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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    parser.add_argument("--run", metavar="RUN_ID", help="training run to merge (the newest)")
    parser.add_argument("--runs", nargs="+", metavar="RUN_ID", help="combine several runs into a new one instead")
    parser.add_argument("--method", default="linear", choices=("linear", "ties", "dare_linear", "dare_ties"),
                        help="how to combine them (linear)")  # fmt: skip
    parser.add_argument("--weights", nargs="+", type=float, default=[], metavar="W", help="their shares (equal)")
    parser.add_argument("--density", type=float, default=0.5, metavar="D", help="share of changes to keep (0.5)")


def main(arguments: argparse.Namespace) -> None:
    """Merge and print the folder, or combine runs and print the new one."""
    settings = settings_from(arguments)
    ledger = open_ledger(settings)
    if arguments.runs:
        from train.ensemble import ensemble

        run = ensemble(settings, ledger, arguments.runs, way=arguments.method, weights=arguments.weights,
                       density=arguments.density)  # fmt: skip
        merge(settings, ledger, run.id)
        print_record(run, as_json=arguments.json)
        return
    run_id = arguments.run or newest_run(ledger, settings.project).id
    path = merge(settings, ledger, run_id)
    sys.stdout.write((json.dumps({"path": str(path)}) if arguments.json else str(path)) + "\n")
