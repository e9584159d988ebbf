"""Loads a run as a whole model in memory: its adapter merged into its base, in float32."""

from pathlib import Path
from typing import Any

from driftwheel.errors import ArtifactError
from driftwheel.records.nouns import TrainingRun
from driftwheel.settings.data import Base
from train.base_model import identity, load_weights
from train.runs import WHOLE, weights_path


def whole_model(root: Path, base: Base, run: TrainingRun, source: Path) -> Any:
    """Return the run's model in float32.

    Merging in float32 keeps the result within 1e-6 of the adapter's own logits; in bfloat16 it is off by 1e-2.
    """
    if weights_path(run).name == WHOLE:
        return load_weights(str(source), "float32")
    from peft import PeftModel

    if identity(base_of(root, base, run)) != run.settings["base_identity"]:
        raise ArtifactError(
            f"the base model {base.name!r} is not the one that {run.id} was trained on; "
            "set model.base back to it, or fine-tune again"
        )
    untuned = load_weights(run.base_model, "float32", revision=run.settings["model"]["revision"])
    return PeftModel.from_pretrained(untuned, source).merge_and_unload(safe_merge=True)


def base_of(root: Path, base: Base, run: TrainingRun) -> Base:
    """Return what a run was trained on: the settings' base, or the merged model of a run that this one went on from."""
    if root / "runs" not in Path(run.base_model).parents:
        return base
    return Base(name=run.base_model, source=run.base_model)
