"""A merged model becomes the artifact that will be served: quantized, hashed, its manifest last.

    python -m train quantize --config driftwheel.yaml --run RUN_ID

`w8a8` and `fp8_dynamic` round each weight and need no data. The other schemes look at what the model computes on
training rows. `pruned_2_4` is an experiment: two of four weights become zero, and neither vLLM's files nor its speed
gain by it.
"""

import shutil
from pathlib import Path
from typing import Any

from driftwheel import artifacts
from driftwheel.records import TrainingRun
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from train.base_model import load_tokenizer
from train.fidelity.pins import check_pins, read_pins
from train.fidelity.structure import check_merged
from train.merge import merge
from train.runs import weights_path
from train.weights.adapter import pack_adapter
from train.weights.calibrated import calibrate
from train.weights.rounding import PRESETS, round_to_nearest


def chosen_scheme(settings: Settings) -> str:
    """Return the scheme that `auto` means on this machine, or the one that was set."""
    if settings.quantize.scheme != "auto":
        return settings.quantize.scheme
    import torch

    return "fp8_dynamic" if torch.cuda.is_available() else "w8a8"


def quantize(settings: Settings, ledger: Ledger, run_id: str) -> Path:
    """Write a run's servable artifact, or find it written already, and return its folder.

    Merges first if that was not done; with `merge.kind: adapter` the artifact is the adapter itself.
    Raises ConfigError for a scheme that this machine or model cannot use.
    """
    if settings.merge.kind == "adapter":
        return pack_adapter(settings, ledger, run_id)
    run = ledger.get(TrainingRun, run_id)
    merged = merge(settings, ledger, run_id)
    scheme = chosen_scheme(settings)
    target = settings.root / "artifacts" / f"{run_id}-{scheme}"
    whole = artifacts.verify(merged)
    check_merged(merged, artifacts.read_manifest(weights_path(run))["content_hash"])
    check_pins("merged", whole, read_pins(merged))
    source = {"merged_hash": whole["content_hash"], "ignore": settings.quantize.ignore}
    if scheme not in ("none", *PRESETS):
        source["calibration_rows"] = settings.quantize.calibration_rows
    if artifacts.is_complete(target) and artifacts.read_manifest(target).get("source") == source:
        return target
    facts: dict[str, Any] = {
        "run_id": run.id,
        "dataset_id": run.dataset_id,
        "base_model": run.base_model,
        "quantization": scheme,
        "settings_hash": settings.settings_hash,
        "source": source,
    }
    with artifacts.writing(target, facts) as folder:
        if scheme == "none":
            shutil.copytree(merged, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(artifacts.MANIFEST))
        elif scheme in PRESETS:
            round_to_nearest(merged, folder, scheme, settings.quantize.ignore)
        else:
            calibrate(settings, ledger, run, scheme, merged, folder)
        load_tokenizer(str(merged)).save_pretrained(folder)
        facts |= read_pins(folder)
        check_pins("quantized", whole, facts)
    return target
