"""Measures parity of a run: asks every form of the model the same probes, and compares them.

    python -m train parity --config driftwheel.yaml --run RUN_ID

The trainer answered the probes when training ended; here the merged and the quantized files answer them, and
`evaluate` asks the endpoint. A form that is over its tolerance, or whose template, tokenizer or files are not the
trained ones, stops the publication with its name.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from driftwheel.errors import ParityError
from driftwheel.files import artifacts
from driftwheel.quantization import SCHEMES
from driftwheel.records.json_form import as_json
from driftwheel.records.nouns import TrainingRun
from driftwheel.records.scorecard import ParityRow
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from train.base_model import load_tokenizer, load_weights
from train.fidelity.hops import measure, require
from train.fidelity.noise import read_again
from train.fidelity.parity_table import Parity, ParityTable, find_parity, load_parity, parity_folder
from train.fidelity.pins import check_pins, read_pins
from train.fidelity.probing import Probe, Reading, free_memory, read_model, reading_device
from train.fidelity.structure import check_merged, check_quantized, check_weights
from train.fidelity.trained import Trained, recall
from train.runs import merged_path, weights_path
from train.step_progress import progress
from train.weights.adapter import KIND, check_adapter, load_adapted


def parity(settings: Settings, ledger: Ledger, run_id: str, artifact: Path, *, coarser: tuple[str, ...] = ()) -> Parity:
    """Measure the hops from a run's trainer to its artifact's files, or find them measured.

    `coarser` names the schemes that were passed over before this artifact's, and is kept in its row.
    Raises ParityError naming the first form of the model that is not what was trained.
    """
    run = ledger.get(TrainingRun, run_id)
    found = find_parity(settings.root, artifact)
    if found is None:
        facts = {"run_id": run_id, "artifact": artifacts.verify(artifact).content_hash}
        device = reading_device()
        try:
            if artifacts.read_manifest(artifact).kind == KIND:
                stored = _measure_adapter(settings, ledger, run, artifact, device)
            else:
                stored = _measure(settings, ledger, run, artifact, coarser, device)
        finally:
            free_memory(device)
        with artifacts.writing(parity_folder(settings.root, artifact), facts) as aside:
            artifacts.write_json(aside / "parity.json", as_json(stored))
        found = load_parity(settings.root, artifact)
    require(settings.parity, found.rows)
    return found


def hop_line(row: ParityRow) -> str:
    """Return a table's row as one line of text."""
    line = f"{row.hop:<10} accuracy {row.accuracy:.1%}"
    if (apart := row.mean_logprob_difference) is not None and row.agreement_interval is not None:
        low, high = row.agreement_interval
        line += (
            f", {row.agreeing} of {row.items} answers as {row.against} ({row.agreement:.1%} [{low:.1%}, {high:.1%}]), "
            f"log-probabilities {apart:.2g} nats apart ({row.loss_share:.1%} of the loss; "
            f"most {row.max_logprob_difference:.2g})"
        )
    if (noise := row.noise) is not None:
        low, high = noise.own_interval
        line += (
            f", reading twice {noise.loss_share:.1%} and {noise.agreeing} of {noise.items}, "
            f"beyond it {noise.own_share:.1%} [{low:.1%}, {high:.1%}], loss {noise.loss_rise:+.1%}"
        )
    return line + "".join(f"\n{'':<10} passed over {reason}" for reason in row.coarser or ())


def _measure(
    settings: Settings, ledger: Ledger, run: TrainingRun, artifact: Path, coarser: tuple[str, ...], device: str
) -> ParityTable:
    """Check and measure one form after the other, so that the first wrong one is the one that is named."""
    merged, label_field = merged_path(run), settings.dataset.label_field
    trained = recall(settings, ledger, run, device)
    table = _start(trained)
    weights = artifacts.verify(weights_path(run))
    # A run that is older than pins was pinned by its merge.
    pins = weights if weights.template_hash else artifacts.read_manifest(merged)

    check_merged(merged, weights.content_hash)
    check_pins("merged", pins, read_pins(merged))
    readings, _ = _read("merged", merged, trained, trained.readings, label_field=label_field)
    again = _read_again(run, merged, trained, readings, label_field=label_field)
    table = table.plus("merged", readings, again)
    require(settings.parity, table.rows)

    check_quantized(merged, artifact, run.id, settings.quantize.ignore)
    check_pins("quantized", pins, read_pins(artifact))
    if not _is_copy(merged, artifact):
        readings, model = _read("quantized", artifact, trained, readings, label_field=label_field)
        check_weights(merged, model, SCHEMES[artifacts.read_manifest(artifact).quantization])
        del model  # before the same files are read again
        again = _read_again(run, artifact, trained, readings, label_field=label_field)
    table = table.plus("quantized", readings, again, noise_from="merged", coarser=coarser)
    require(settings.parity, table.rows)
    return table


def _measure_adapter(settings: Settings, ledger: Ledger, run: TrainingRun, artifact: Path, device: str) -> ParityTable:
    """Check and measure the adapter's files beside the base that an engine would run."""
    check_adapter(artifact, run)
    trained = recall(settings, ledger, run, device)
    # An engine on the base takes the adapter's tokenizer, so that is the one to measure with.
    tokenizer = load_tokenizer(str(artifact))
    label_field = settings.dataset.label_field

    def read(dtype: str, is_autocast: bool, probes: Sequence[Probe], drafts: Sequence[Reading]) -> list[Reading]:
        model = load_adapted(artifact, dtype, trained.device)
        limit = trained.max_tokens
        return read_model(
            model, tokenizer, probes, limit, is_autocast=is_autocast, drafts=drafts, label_field=label_field
        )

    readings = read(artifacts.read_manifest(artifact).dtype or "auto", False, trained.probes, trained.readings)
    again = read_again(partial(read, "float32", _is_autocast(run)), trained.probes, readings)
    return _start(trained).plus(KIND, readings, again)


def _start(trained: Trained) -> ParityTable:
    return ParityTable(
        rows=[measure("trained", trained.readings, [], is_read_back=trained.is_read_back)],
        max_tokens=trained.max_tokens,
        probes=trained.probes,
        readings={"trained": trained.readings},
    )


def _is_autocast(run: TrainingRun) -> bool:
    """Say whether the trainer computed in bfloat16, its weights in float32 or not."""
    return bool(run.settings.get("train", {}).get("bf16"))


def _read_again(
    run: TrainingRun, folder: Path, trained: Trained, readings: list[Reading], *, label_field: str | None
) -> list[Reading]:
    """Return what the same files make of the probes in the trainer's number types, and in other batches."""
    model = load_weights(str(folder), "float32", device=trained.device)
    tokenizer = load_tokenizer(str(folder))

    def read(probes: Sequence[Probe], drafts: Sequence[Reading]) -> list[Reading]:
        limit, is_autocast = trained.max_tokens, _is_autocast(run)
        return read_model(
            model, tokenizer, probes, limit, is_autocast=is_autocast, drafts=drafts, label_field=label_field
        )

    return read_again(read, trained.probes, readings)


def _read(
    hop: str, folder: Path, trained: Trained, drafts: list[Reading], *, label_field: str | None
) -> tuple[list[Reading], Any]:
    """Return what a folder's model makes of the probes, and the model, whose weights are decompressed by then."""
    model, loaded = load_weights(str(folder), "auto", device=trained.device, output_loading_info=True)
    if missing := sorted(loaded["missing_keys"]):
        raise ParityError(hop, "tensors", f"{missing[0]} is in no file of {folder}; build it again")
    tokenizer, probes = load_tokenizer(str(folder)), trained.probes
    with progress(f"parity, {len(probes)} probes to the {hop} model"):
        readings = read_model(
            model, tokenizer, probes, trained.max_tokens, is_autocast=False, drafts=drafts, label_field=label_field
        )
    return readings, model


def _is_copy(merged: Path, artifact: Path) -> bool:
    """Say whether the artifact's weights are the merged model's own files: there is nothing to measure then."""
    before, after = (artifacts.read_manifest(path).files for path in (merged, artifact))
    weights = {name: entry for name, entry in before.items() if name.endswith(".safetensors")}
    return weights == {name: entry for name, entry in after.items() if name.endswith(".safetensors")}
