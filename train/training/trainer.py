"""Makes TRL's supervised trainer from settings and a Dataset's folder."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from trl import SFTConfig

from driftwheel.errors import ConfigError, DataError
from driftwheel.machine.accelerator import look
from driftwheel.settings.data import Base
from driftwheel.settings.training import TrainSettings
from train.base_model import load_base_tokenizer, load_weights
from train.data.examples import Example, read_examples
from train.data.tokens.learned_tokens import Learned, training_rows
from train.kernels.adapted_linear import fuse_adapters
from train.kernels.completion_head import has_plain_frozen_head, score_completions_only
from train.kernels.frozen_norm import replace_norms
from train.kernels.short_attention import use_short_attention
from train.processes.number_type import with_number_type
from train.training.checkpoint_choice import validation_weights
from train.training.class_weights import ROW_WEIGHT, check_class_weights, row_weights
from train.training.gpu_choice import gpu_choice, installed_kernels
from train.training.methods import ADAPTER_KEYS, adapter_config, base_dtype, check_method
from train.training.sharding import IGNORED, Arguments, Batch, prepare_sharding, process_arguments, share_batches
from train.training.supervised_trainer import SupervisedTrainer

OWN_KEYS = (
    *("method", "objective", "start_from", "beta", "learn", "class_weights", "early_stopping_patience"),
    *("num_processes", "devices", "fsdp", "executor", "ray_address"),
)
"""Keys of the train section that no TRL trainer takes as they are."""
Sequences = Sequence[tuple[Example, Learned]]
"""What is learned or validated, each beside its row."""
SHORT_FIRST = "short_first"
"""A sampling strategy of ours, which transformers does not know: it begins otherwise, and goes on at random."""


def make_trainer(train: TrainSettings, base: Base, dataset_path: Path, run_path: Path, callbacks: Sequence[Any]) -> Any:
    """Return a trainer with model, rows, early stopping and checkpoints set up, its loss on what rows teach only.

    Raises ConfigError for settings that TRL refuses, NotFoundError for a missing base model.
    """
    prepare(train)
    train = with_number_type(train)
    choice = gpu_choice(train, look().capability, installed_kernels())
    tokenizer = load_base_tokenizer(base)
    learned = _sequences(train, tokenizer, dataset_path, "train")
    rows = _training_rows(train, learned, dataset_path)
    validation = _validation_rows(learned, _sequences(train, tokenizer, dataset_path, "validation"))
    with naming_refused_settings():
        common = common_arguments(train, run_path, has_validation=bool(validation))
        # A validation loss over packed rows would depend on how they were packed.
        arguments = SFTConfig(**common, **choice.arguments, completion_only_loss=True, eval_packing=False)
        prepare_sharding(arguments)
        trainer = SupervisedTrainer(
            is_short_first=train.train_sampling_strategy == SHORT_FIRST,
            model=load_base(train, base, choice.attention),
            args=arguments,
            train_dataset=datasets.Dataset.from_list(rows),
            eval_dataset=datasets.Dataset.from_list(validation) if validation else None,
            processing_class=tokenizer,
            peft_config=adapter_config(train),
            callbacks=[*callbacks, *early_stopping(train, has_validation=bool(validation))],
        )
    trainer.remove_callback(transformers.PrinterCallback)
    if not torch.cuda.is_available():
        _spare_the_cpu(trainer)
    elif choice.is_padding_free:
        _leave_padding_out(trainer)
    share_batches(trainer, train)
    return trainer


def _training_rows(train: TrainSettings, found: Sequences, dataset_path: Path) -> list[Batch]:
    """Return the training rows, each with its weight where they do not weigh the same; raises DataError for none."""
    if not found:
        raise DataError(f"{dataset_path} has no training rows; add data and build the dataset again")
    return _weighted(found, row_weights(train, [example.label for example, _ in found]))


def _validation_rows(learned: Sequences, found: Sequences) -> list[Batch]:
    """Return the rows that choose the checkpoint, each with its weight where they do not weigh the same."""
    counted = [(example.slice, sum(label != IGNORED for label in sequence.labels)) for example, sequence in found]
    weights = validation_weights({example.slice for example, _ in learned}, counted)
    if weights is None:
        return []
    return _weighted(found, weights if len(set(weights)) > 1 else None)


def _weighted(found: Sequences, weights: Sequence[float] | None) -> list[Batch]:
    """Return sequences as TRL takes them, which leaves labels that are there as they are."""
    rows: list[Batch] = [{"input_ids": sequence.ids, "labels": sequence.labels} for _, sequence in found]
    if weights is None:
        return rows
    return [{**row, ROW_WEIGHT: weight} for row, weight in zip(rows, weights, strict=True)]


def _sequences(train: TrainSettings, tokenizer: Any, dataset_path: Path, split: str) -> Sequences:
    path = dataset_path / f"{split}.jsonl"
    return training_rows(tokenizer, read_examples(path), train.learn, train.max_length, path.name)


@contextmanager
def naming_refused_settings() -> Iterator[None]:
    """Raise as ConfigError what TRL says of settings that it refuses."""
    try:
        yield
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"the train section cannot be used: {str(error).splitlines()[0]}") from error


def _spare_the_cpu(trainer: Any) -> None:
    """Leave out what a training step would compute in vain; each module says what that is."""
    model = trainer.model
    fuse_adapters(model)
    replace_norms(model)
    if use_short_attention(model):
        _leave_padding_out(trainer)
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    if has_plain_frozen_head(causal):
        score_completions_only(causal)


def _leave_padding_out(trainer: Any) -> None:
    # TRL takes this setting only without max_length; here every row has already been cut.
    trainer.padding_free = trainer.data_collator.padding_free = True


def prepare(train: TrainSettings) -> None:
    """Silence the libraries' progress bars and set the seed; raises ConfigError for a method that cannot be used."""
    check_method(train)
    check_class_weights(train)
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.set_seed(train.seed)


def early_stopping(train: TrainSettings, *, has_validation: bool) -> list[Any]:
    """Return the callback that ends a training which no longer improves, or none."""
    patience = train.early_stopping_patience
    return [transformers.EarlyStoppingCallback(patience)] if patience and has_validation else []


def common_arguments(train: TrainSettings, run_path: Path, *, has_validation: bool) -> Arguments:
    """Return what every trainer of TRL is told: the train section, when to validate, where to save."""
    passed = train.model_dump(exclude={*OWN_KEYS, *ADAPTER_KEYS})
    if train.train_sampling_strategy == SHORT_FIRST:
        passed["train_sampling_strategy"] = "random"
    has_gpu = torch.cuda.is_available()
    return {
        **passed,
        **process_arguments(train),
        "output_dir": str(run_path / "checkpoints"),
        "eval_strategy": "steps" if has_validation else "no",
        "save_strategy": "steps",
        # The best model can be loaded at the end only if every validation has its checkpoint.
        "save_steps": train.eval_steps,
        "load_best_model_at_end": has_validation,
        "metric_for_best_model": "eval_loss" if has_validation else None,
        "greater_is_better": False if has_validation else None,
        "disable_tqdm": True,
        # By default the Trainer logs an earlier loss in the place of one that is no number, and trains on.
        "logging_nan_inf_filter": False,
        # A curve begins with the loss of the untrained model.
        "logging_first_step": True,
        # Pinned memory is for copies to a GPU; without one torch only warns of it.
        "dataloader_pin_memory": has_gpu,
        "use_cpu": not has_gpu,
        "run_name": run_path.name,
    }


def load_base(train: TrainSettings, base: Base, attention: str | None = None) -> Any:
    """Load the base in the type that its training wants, with that attention or with transformers' own choice."""
    options: Arguments = {} if attention is None else {"attn_implementation": attention}
    if train.method == "qlora":
        # QLoRA's own recipe (Dettmers et al. 2023, section 3): NF4, its scales quantized too, products in bfloat16.
        options["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    dtype = base_dtype(train)
    return load_weights(base.source, dtype, revision=base.revision, **options)
