"""A run and its servable artifact become a parity table: the same probes, answered by every form of the model.

    python -m train parity --config driftwheel.yaml --run RUN_ID

The trainer answered the probes when training ended; here the merged and the quantized files answer them, and
`evaluate` asks the endpoint. A form that is over its tolerance, or whose template, tokenizer or files are not the
trained ones, stops the publication with its name.
"""

import json
from pathlib import Path
from typing import Any

from driftwheel import artifacts
from driftwheel.errors import GateError, ParityError
from driftwheel.records import TrainingRun
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from train.base_model import load_tokenizer, load_weights
from train.fidelity.hops import measure, require
from train.fidelity.parity_table import Parity
from train.fidelity.pins import check_pins, read_pins
from train.fidelity.probing import Probe, Reading, as_rows, read_model
from train.fidelity.structure import check_merged, check_quantized, check_weights
from train.fidelity.trained import Trained, recall
from train.merge import merge
from train.quantize import quantize
from train.runs import weights_path
from train.weights.adapter import KIND, check_adapter, load_adapted


def parity(settings: Settings, ledger: Ledger, run_id: str, artifact: Path | None = None) -> Parity:
    """Measure the hops from a run's trainer to its artifact's files, or find them measured; builds what is missing.

    Raises ParityError naming the first form of the model that is not what was trained.
    """
    run = ledger.get(TrainingRun, run_id)
    artifact = artifact or quantize(settings, ledger, run_id)
    found = find_parity(settings, artifact)
    if found is None:
        facts = {"run_id": run_id, "artifact": artifacts.verify(artifact)["content_hash"]}
        if artifacts.read_manifest(artifact).get("kind") == KIND:
            stored = _measure_adapter(settings, ledger, run, artifact)
        else:
            stored = _measure(settings, ledger, run, merge(settings, ledger, run_id), artifact)
        with artifacts.writing(parity_folder(settings, artifact), facts) as aside:
            artifacts.write_json(aside / "parity.json", stored)
        found = _load(settings, artifact)
    require(found.rows, settings.parity)
    return found


def parity_folder(settings: Settings, artifact: Path) -> Path:
    """Return where an artifact's parity table is."""
    return settings.root / "parity" / artifact.resolve().name


def find_parity(settings: Settings, artifact: Path) -> Parity | None:
    """Return what was measured of exactly these files, or None."""
    folder = parity_folder(settings, artifact)
    if not artifacts.is_complete(folder):
        return None
    is_same = artifacts.read_manifest(folder)["artifact"] == artifacts.read_manifest(artifact)["content_hash"]
    return _load(settings, artifact) if is_same else None


def require_parity(settings: Settings, scorecard: dict[str, Any], artifact: Path) -> None:
    """Raise GateError unless a scorecard holds the whole table, ParityError if a hop is over its tolerance."""
    rows = scorecard.get("parity") or []
    if "served" not in {row["hop"] for row in rows}:
        raise GateError(
            f"{artifact} was evaluated without a parity table, so that what is served may not be what was trained; "
            "run `driftwheel parity`, then `driftwheel evaluate` and publish again"
        )
    require(rows, settings.parity)


def hop_line(row: dict[str, Any]) -> str:
    """Return a table's row as one line of text."""
    line = f"{row['hop']:<10} accuracy {row['accuracy']:.1%}"
    if "against" in row:
        low, high = row["agreement_interval"]
        line += (
            f", {row['agreeing']} of {row['items']} answers as {row['against']} ({row['agreement']:.1%} "
            f"[{low:.1%}, {high:.1%}]), log-probabilities {row['mean_logprob_difference']:.2g} nats apart "
            f"({row['loss_share']:.1%} of the loss; most {row['max_logprob_difference']:.2g})"
        )
    return line


def _load(settings: Settings, artifact: Path) -> Parity:
    """Read a finished measurement; raises ArtifactError if it was changed."""
    folder = parity_folder(settings, artifact)
    digest = artifacts.verify(folder)["content_hash"]
    stored = json.loads((folder / "parity.json").read_text(encoding="utf-8"))
    return Parity(
        artifact=artifact,
        folder=folder,
        probes=[Probe(**entry) for entry in stored["probes"]],
        chain=[(name, [Reading(**entry) for entry in readings]) for name, readings in stored["readings"].items()],
        rows=stored["rows"],
        max_tokens=stored["max_tokens"],
        digest=digest,
    )


def _measure(settings: Settings, ledger: Ledger, run: TrainingRun, merged: Path, artifact: Path) -> dict[str, Any]:
    """Check and measure one form after the other, so that the first wrong one is the one that is named."""
    trained = recall(settings, ledger, run)
    rows = [measure("trained", trained.readings, []) | {"is_read_back": trained.is_read_back}]
    weights = artifacts.verify(weights_path(run))
    pins = {**artifacts.read_manifest(merged), **weights}  # a run that is older than pins was pinned by its merge

    check_merged(merged, weights["content_hash"])
    check_pins("merged", pins, read_pins(merged))
    readings, _ = _read(settings, "merged", merged, trained, trained.readings)
    chain = [("trained", trained.readings)]
    rows.append(measure("merged", readings, chain))
    require(rows, settings.parity)

    check_quantized(merged, artifact, run.id, settings.quantize.ignore)
    check_pins("quantized", pins, read_pins(artifact))
    chain.append(("merged", readings))
    if not _is_copy(merged, artifact):
        readings, model = _read(settings, "quantized", artifact, trained, readings)
        check_weights(merged, model, artifacts.read_manifest(artifact).get("quantization", "none"))
    rows.append(measure("quantized", readings, chain))
    require(rows, settings.parity)
    return _as_json(trained, rows, [*chain, ("quantized", readings)])


def _measure_adapter(settings: Settings, ledger: Ledger, run: TrainingRun, artifact: Path) -> dict[str, Any]:
    """Check and measure the adapter's files beside the base that an engine would run."""
    check_adapter(artifact, run)
    trained = recall(settings, ledger, run)
    chain = [("trained", trained.readings)]
    rows = [measure("trained", trained.readings, []) | {"is_read_back": trained.is_read_back}]
    model, base = load_adapted(artifact)
    tokenizer = load_tokenizer(base, revision=artifacts.read_manifest(artifact)["base_revision"] or None)
    readings = read_model(
        settings, model, tokenizer, trained.probes, trained.max_tokens, is_autocast=False, drafts=trained.readings
    )
    rows.append(measure(KIND, readings, chain))
    require(rows, settings.parity)
    return _as_json(trained, rows, [*chain, (KIND, readings)])


def _as_json(trained: Trained, rows: list[dict[str, Any]], chain: list[tuple[str, list[Reading]]]) -> dict[str, Any]:
    return {
        "rows": rows,
        "max_tokens": trained.max_tokens,
        "probes": as_rows(trained.probes),
        "readings": {name: as_rows(found) for name, found in chain},
    }


def _read(
    settings: Settings, hop: str, folder: Path, trained: Trained, drafts: list[Reading]
) -> tuple[list[Reading], Any]:
    """Return what a folder's model makes of the probes, and the model, whose weights are decompressed by then."""
    model, loaded = load_weights(str(folder), "auto", output_loading_info=True)
    if missing := sorted(loaded["missing_keys"]):
        raise ParityError(hop, "tensors", f"{missing[0]} is in no file of {folder}; build it again")
    tokenizer = load_tokenizer(str(folder))
    readings = read_model(
        settings, model, tokenizer, trained.probes, trained.max_tokens, is_autocast=False, drafts=drafts
    )
    return readings, model


def _is_copy(merged: Path, artifact: Path) -> bool:
    """Say whether the artifact's weights are the merged model's own files: there is nothing to measure then."""
    before, after = (artifacts.read_manifest(path)["files"] for path in (merged, artifact))
    weights = {name: entry for name, entry in before.items() if name.endswith(".safetensors")}
    return weights == {name: entry for name, entry in after.items() if name.endswith(".safetensors")}
