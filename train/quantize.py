"""Quantizes a merged model into the artifact that is served: hashed, its manifest last.

    python -m train quantize --config driftwheel.yaml --run RUN_ID

Which schemes there are stands in `driftwheel/quantization.py`: those with a preset round each weight and need no data,
those with a recipe look at what the model computes on training rows.
"""

import shutil
from pathlib import Path

from driftwheel.files import artifacts
from driftwheel.files.artifacts import Source
from driftwheel.quantization import Scheme
from driftwheel.records.json_form import as_json
from driftwheel.records.nouns import TrainingRun
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from train.base_model import load_tokenizer
from train.fidelity.pins import check_pins, read_pins
from train.fidelity.structure import check_merged
from train.runs import merged_path, weights_path
from train.step_progress import progress
from train.weights.adapter import pack_adapter
from train.weights.calibrated import calibrate
from train.weights.rounding import round_to_nearest
from train.weights.scheme_choice import first_scheme


def quantize(settings: Settings, ledger: Ledger, run_id: str) -> Path:
    """Write a merged run's servable artifact, or find it written already, and return its folder.

    With `merge.kind: adapter` the artifact is the adapter itself. Raises ConfigError for a scheme that this machine or
    model cannot use, ArtifactError if the run is not merged or the merged model was changed.
    """
    if settings.merge.kind == "adapter":
        return pack_adapter(settings, ledger, run_id)
    run = ledger.get(TrainingRun, run_id)
    merged = merged_path(run)
    whole = artifacts.verify(merged)
    scheme = first_scheme(settings.quantize, merged)
    target = settings.root / "artifacts" / f"{run_id}-{scheme.name}"
    # Days may lie between the merge and this, and a damaged merge would be quantized faithfully.
    check_merged(merged, artifacts.read_manifest(weights_path(run)).content_hash)
    check_pins("merged", whole, read_pins(merged))
    source = Source(
        merged_hash=whole.content_hash,
        ignore=tuple(settings.quantize.ignore),
        calibration_rows=settings.quantize.calibration_rows if scheme.is_calibrated else None,
    )
    if artifacts.is_complete(target) and artifacts.read_manifest(target).source == source:
        return target
    facts = {
        "run_id": run.id,
        "dataset_id": run.dataset_id,
        "base_model": run.base_model,
        "quantization": scheme.name,
        "settings_hash": settings.settings_hash,
        "source": as_json(source),
    }
    with progress(f"quantize ({scheme.name})"), artifacts.writing(target, facts) as folder:
        _write(settings, ledger, run, scheme, merged, folder)
        load_tokenizer(str(merged)).save_pretrained(folder)
        pins = read_pins(folder)
        facts |= as_json(pins)
        check_pins("quantized", whole, pins)
    return target


def _write(settings: Settings, ledger: Ledger, run: TrainingRun, scheme: Scheme, merged: Path, folder: Path) -> None:
    if scheme.is_calibrated:
        calibrate(settings, ledger, run, scheme, merged, folder)
    elif scheme.preset is not None:
        round_to_nearest(merged, folder, scheme.preset, settings.quantize.ignore)
    else:
        shutil.copytree(merged, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(artifacts.MANIFEST))
