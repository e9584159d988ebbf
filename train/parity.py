"""Measures parity of a run: asks every form of the model the same probes, and compares them.

    python -m train parity --config driftwheel.yaml --run RUN_ID

The trainer answered the probes when training ended; here the merged and the quantized files answer them, and
`evaluate` asks the endpoint. A form that is over its tolerance, or whose template, tokenizer or files are not the
trained ones, stops the publication with its name.
"""

from pathlib import Path
from typing import Any

from driftwheel import artifacts
from driftwheel.errors import ParityError
from driftwheel.json_form import as_json
from driftwheel.quantization import SCHEMES
from driftwheel.records import TrainingRun
from driftwheel.scorecard import ParityRow
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from train.base_model import load_tokenizer, load_weights
from train.fidelity.hops import measure, require
from train.fidelity.parity_table import Parity, ParityTable, find_parity, load_parity, parity_folder
from train.fidelity.pins import check_pins, read_pins
from train.fidelity.probing import Reading, read_model
from train.fidelity.structure import check_merged, check_quantized, check_weights
from train.fidelity.trained import Trained, recall
from train.runs import merged_path, weights_path
from train.weights.adapter import KIND, check_adapter, load_adapted


def parity(settings: Settings, ledger: Ledger, run_id: str, artifact: Path) -> Parity:
    """Measure the hops from a run's trainer to its artifact's files, or find them measured.

    Raises ParityError naming the first form of the model that is not what was trained.
    """
    run = ledger.get(TrainingRun, run_id)
    found = find_parity(settings.root, artifact)
    if found is None:
        facts = {"run_id": run_id, "artifact": artifacts.verify(artifact).content_hash}
        if artifacts.read_manifest(artifact).kind == KIND:
            stored = _measure_adapter(settings, ledger, run, artifact)
        else:
            stored = _measure(settings, ledger, run, artifact)
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
    return line


def _measure(settings: Settings, ledger: Ledger, run: TrainingRun, artifact: Path) -> ParityTable:
    """Check and measure one form after the other, so that the first wrong one is the one that is named."""
    merged = merged_path(run)
    trained = recall(settings, ledger, run)
    rows = [measure("trained", trained.readings, [], is_read_back=trained.is_read_back)]
    weights = artifacts.verify(weights_path(run))
    # A run that is older than pins was pinned by its merge.
    pins = weights if weights.template_hash else artifacts.read_manifest(merged)

    check_merged(merged, weights.content_hash)
    check_pins("merged", pins, read_pins(merged))
    readings, _ = _read("merged", merged, trained, trained.readings, label_field=settings.dataset.label_field)
    chain = [("trained", trained.readings)]
    rows.append(measure("merged", readings, chain))
    require(settings.parity, rows)

    check_quantized(merged, artifact, run.id, settings.quantize.ignore)
    check_pins("quantized", pins, read_pins(artifact))
    chain.append(("merged", readings))
    if not _is_copy(merged, artifact):
        readings, model = _read("quantized", artifact, trained, readings, label_field=settings.dataset.label_field)
        check_weights(merged, model, SCHEMES[artifacts.read_manifest(artifact).quantization])
    rows.append(measure("quantized", readings, chain))
    require(settings.parity, rows)
    return _table(trained, rows, [*chain, ("quantized", readings)])


def _measure_adapter(settings: Settings, ledger: Ledger, run: TrainingRun, artifact: Path) -> ParityTable:
    """Check and measure the adapter's files beside the base that an engine would run."""
    check_adapter(artifact, run)
    trained = recall(settings, ledger, run)
    chain = [("trained", trained.readings)]
    rows = [measure("trained", trained.readings, [], is_read_back=trained.is_read_back)]
    model = load_adapted(artifact)
    # An engine on the base takes the adapter's tokenizer, so that is the one to measure with.
    tokenizer = load_tokenizer(str(artifact))
    readings = read_model(
        model,
        tokenizer,
        trained.probes,
        trained.max_tokens,
        is_autocast=False,
        drafts=trained.readings,
        label_field=settings.dataset.label_field,
    )
    rows.append(measure(KIND, readings, chain))
    require(settings.parity, rows)
    return _table(trained, rows, [*chain, (KIND, readings)])


def _table(trained: Trained, rows: list[ParityRow], chain: list[tuple[str, list[Reading]]]) -> ParityTable:
    return ParityTable(rows=rows, max_tokens=trained.max_tokens, probes=trained.probes, readings=dict(chain))


def _read(
    hop: str, folder: Path, trained: Trained, drafts: list[Reading], *, label_field: str | None
) -> tuple[list[Reading], Any]:
    """Return what a folder's model makes of the probes, and the model, whose weights are decompressed by then."""
    model, loaded = load_weights(str(folder), "auto", output_loading_info=True)
    if missing := sorted(loaded["missing_keys"]):
        raise ParityError(hop, "tensors", f"{missing[0]} is in no file of {folder}; build it again")
    tokenizer = load_tokenizer(str(folder))
    readings = read_model(
        model, tokenizer, trained.probes, trained.max_tokens, is_autocast=False, drafts=drafts, label_field=label_field
    )
    return readings, model


def _is_copy(merged: Path, artifact: Path) -> bool:
    """Say whether the artifact's weights are the merged model's own files: there is nothing to measure then."""
    before, after = (artifacts.read_manifest(path).files for path in (merged, artifact))
    weights = {name: entry for name, entry in before.items() if name.endswith(".safetensors")}
    return weights == {name: entry for name, entry in after.items() if name.endswith(".safetensors")}
