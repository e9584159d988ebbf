"""Probes the trainer's own model; all later forms are compared with it."""

import random
from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from driftwheel.errors import ConfigError, DataError
from driftwheel.files import artifacts
from driftwheel.files.artifacts import Pins
from driftwheel.records.json_form import as_json, from_json
from driftwheel.records.nouns import Dataset, TrainingRun
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from train.base_model import CPU, end_ids, load_tokenizer, load_weights
from train.data.examples import Example, read_examples
from train.data.tokens.learned_tokens import Learn, learned_sequences
from train.fidelity.pins import read_pins
from train.fidelity.probing import Probe, Reading, make_probes, read_model
from train.processes.first_process import is_first_process
from train.runs import weights_path
from train.step_progress import progress

READINGS = "parity_trained.json"
COMPARED_ROWS = 16


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Probes, and what the model that was trained makes of them."""

    probes: list[Probe]
    readings: list[Reading]
    max_tokens: int
    """Longest answer that was generated."""
    is_read_back: bool = False
    """The model was read from disk: its run is older than parity tables, or it was trained on another device."""
    device: str = ""
    """Kind of the device that computed the readings; empty where they are older than this."""


def remember(settings: Settings, dataset_path: Path, trainer: Any, folder: Path) -> Pins:
    """Ask the model in the trainer's memory every probe, store the readings in `folder` and return its pins.

    Of several processes all must call it, since a sharded model answers only together; the first one writes.
    Raises ConfigError if the trainer did not learn from the tokens that the template renders.
    """
    tokenizer, model = trainer.processing_class, trainer.accelerator.unwrap_model(trainer.model)
    _compare_tokens(trainer, dataset_path, settings.train.learn)
    max_tokens = settings.evaluate.max_tokens
    probes = choose_probes(settings, dataset_path, tokenizer, end_ids(tokenizer, model.generation_config))
    is_autocast, label_field = bool(settings.train.bf16), settings.dataset.label_field
    with progress(f"{len(probes)} probes to the trained model") if is_first_process() else nullcontext():
        readings = read_model(model, tokenizer, probes, max_tokens, is_autocast=is_autocast, label_field=label_field)
    if not is_first_process():
        return Pins()
    trained = Trained(probes=probes, readings=readings, max_tokens=max_tokens, device=model.device.type)
    artifacts.write_json(folder / READINGS, as_json(trained))
    is_whole = settings.train.method == "full"
    return read_pins(folder, None if is_whole else settings.base_model(), settings.model.revision)


def recall(settings: Settings, ledger: Ledger, run: TrainingRun, device: str = CPU) -> Trained:
    """Return what a run's trainer remembered, on the device on which the other forms are read.

    A run that is older than this, or was trained on another device, has its weights read back from disk.
    """
    path = weights_path(run) / READINGS
    if not path.is_file():
        return _read_back(settings, ledger, run, device)
    trained = from_json(path.read_bytes(), Trained)
    if trained.device not in ("", device):
        return _read_back(settings, ledger, run, device)
    return replace(trained, device=device)


def load_trained(run: TrainingRun, *, revision: str | None, device: str = CPU) -> Any:
    """Load what a run trained as its trainer held it: whole weights in float32, or the adapter on its frozen base."""
    source = str(weights_path(run))
    if run.method == "full":
        return load_weights(source, "float32", device=device)
    from peft import PeftModel

    dtype = "bfloat16" if run.settings["train"]["bf16"] else "float32"
    return PeftModel.from_pretrained(load_weights(run.base_model, dtype, revision=revision, device=device), source)


def choose_probes(settings: Settings, dataset_path: Path, tokenizer: Any, ends: Collection[int]) -> list[Probe]:
    """Return a fixed sample of the test rows, or of the first split that has rows, that fit the served context.

    Raises DataError if there is none.
    """
    max_tokens = settings.evaluate.max_tokens
    probes = make_probes(tokenizer, _held_out_rows(dataset_path), max_tokens, ends=ends)
    fit = [probe for probe in probes if len(probe.prompt_ids) + max_tokens < settings.serve.max_model_len]
    if not fit:
        raise DataError(
            f"no row of {dataset_path} fits serve.max_model_len {settings.serve.max_model_len} with "
            f"evaluate.max_tokens {max_tokens}, so parity cannot be measured; raise serve.max_model_len"
        )
    chance = random.Random(f"{settings.dataset.seed}-parity")
    return chance.sample(fit, min(settings.parity.items, len(fit)))


def _held_out_rows(dataset_path: Path) -> list[Example]:
    for split in ("test", "validation", "train"):
        path = dataset_path / f"{split}.jsonl"
        if path.is_file() and (rows := read_examples(path)):
            return rows
    raise DataError(f"{dataset_path} has no rows; build the dataset again")


def _compare_tokens(trainer: Any, dataset_path: Path, learn: Learn = "last") -> None:
    """Raise ConfigError unless the trainer's own token ids are those that the chat template renders."""
    if trainer.eval_dataset is None or "input_ids" not in trainer.eval_dataset.column_names:
        return  # a preference trainer holds pairs
    examples = read_examples(dataset_path / "validation.jsonl")
    rendered = (s.ids for e in examples for s in learned_sequences(trainer.processing_class, e, learn))
    limit = trainer.args.max_length
    for tokenized in islice(trainer.eval_dataset, COMPARED_ROWS):
        learned = list(tokenized["input_ids"])
        ids = next(rendered, [])
        while ids[: len(learned)] != learned and limit is not None and len(ids) > limit:
            ids = next(rendered, [])  # TRL leaves out a row whose answer lies wholly beyond max_length
        if ids[: len(learned)] != learned:
            raise ConfigError(
                f"the trainer tokenized a row of {dataset_path} otherwise than the chat template does, and an engine "
                "would use the template: check the base model's tokenizer and its chat template"
            )


def _read_back(settings: Settings, ledger: Ledger, run: TrainingRun, device: str) -> Trained:
    tokenizer = load_tokenizer(str(weights_path(run)))
    max_tokens = settings.evaluate.max_tokens
    model = load_trained(run, revision=settings.model.revision, device=device)
    ends = end_ids(tokenizer, model.generation_config)
    probes = choose_probes(settings, Path(ledger.get(Dataset, run.dataset_id).path), tokenizer, ends)
    is_autocast = bool(run.settings["train"]["bf16"])
    readings = read_model(
        model, tokenizer, probes, max_tokens, is_autocast=is_autocast, label_field=settings.dataset.label_field
    )
    return Trained(probes=probes, readings=readings, max_tokens=max_tokens, is_read_back=True, device=device)
