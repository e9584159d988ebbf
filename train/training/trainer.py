"""Settings and a dataset folder become a TRL trainer, and a folder of checkpoints the one to resume from."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from driftwheel.errors import ArtifactError, ConfigError, DataError
from driftwheel.settings.settings import Settings
from driftwheel.settings.training import TrainSettings
from train.base_model import load_tokenizer, load_weights
from train.data.examples import read_examples
from train.processes.sharding import prepare_sharding, process_arguments, share_batches
from train.training.class_weights import ROW_WEIGHT, check_class_weights, row_weights
from train.training.methods import ADAPTER_KEYS, adapter_config, base_dtype, check_method
from train.training.progress import CHECKPOINT_MARK

OWN_KEYS = (
    "method", "objective", "beta", "class_weights", "num_processes", "fsdp", "executor", "ray_address",
    "early_stopping_patience",
)  # fmt: skip
"""Keys of the train section that no TRL trainer takes as they are."""
SHORT_FIRST = "short_first"
"""A sampling strategy of ours: it begins otherwise, and then groups rows by length as transformers' own does."""


def read_split(dataset_path: Path, split: str) -> list[dict[str, Any]]:
    """Return a split's prompt and completion messages; raises ArtifactError or DataError."""
    path = dataset_path / f"{split}.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines if line.strip()]
        return [{"prompt": row["prompt"], "completion": row["completion"]} for row in rows]
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}; build the dataset again") from error
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise DataError(f"{path} has a row without prompt and completion ({error}); build the dataset again") from error


def make_trainer(
    settings: Settings,
    dataset_path: Path,
    run_path: Path,
    callbacks: Sequence[Any],
) -> Any:
    """Return a trainer with model, rows, early stopping and checkpoints set up, its loss on completions only.

    Raises ConfigError for settings that TRL refuses, NotFoundError for a missing base model.
    """
    import datasets
    import torch
    import transformers
    from trl import SFTConfig

    from train.training.supervised_trainer import SupervisedTrainer

    train = settings.train
    prepare(train)
    rows, validation = read_split(dataset_path, "train"), read_split(dataset_path, "validation")
    if not rows:
        raise DataError(f"{dataset_path} has no training rows; add data and build the dataset again")
    if weights := row_weights(train, [e.label for e in read_examples(dataset_path / "train.jsonl")]):
        rows = [row | {ROW_WEIGHT: weight} for row, weight in zip(rows, weights, strict=True)]
    try:
        common = common_arguments(train, run_path, has_validation=bool(validation))
        arguments = SFTConfig(**common, completion_only_loss=True, eval_packing=False)
        prepare_sharding(arguments)
        trainer = SupervisedTrainer(
            is_short_first=train.train_sampling_strategy == SHORT_FIRST,
            model=load_base(settings),
            args=arguments,
            train_dataset=datasets.Dataset.from_list(rows),
            eval_dataset=datasets.Dataset.from_list(validation) if validation else None,
            processing_class=load_tokenizer(settings.base_model(), revision=settings.model.revision),
            peft_config=adapter_config(train),
            callbacks=[*callbacks, *early_stopping(train, has_validation=bool(validation))],
        )
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"the train section cannot be used: {str(error).splitlines()[0]}") from error
    trainer.remove_callback(transformers.PrinterCallback)
    if not torch.cuda.is_available():
        _spare_the_cpu(trainer)
    share_batches(trainer, train)
    return trainer


def _spare_the_cpu(trainer: Any) -> None:
    """Leave out what a training step would compute in vain; each module says what that is."""
    from train.kernels.adapted_linear import fuse_adapters
    from train.kernels.completion_head import has_plain_frozen_head, score_completions_only
    from train.kernels.frozen_norm import replace_norms
    from train.kernels.short_attention import use_short_attention

    model = trainer.model
    fuse_adapters(model)
    replace_norms(model)
    if use_short_attention(model):
        # TRL takes this setting only without max_length; here every row has already been cut.
        trainer.padding_free = trainer.data_collator.padding_free = True
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    if has_plain_frozen_head(causal):
        score_completions_only(causal)


def prepare(train: TrainSettings) -> None:
    """Silence the libraries' progress bars and set the seed; raises ConfigError for a method that cannot be used."""
    import datasets
    import transformers

    check_method(train)
    check_class_weights(train)
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.set_seed(train.seed)


def early_stopping(train: TrainSettings, *, has_validation: bool) -> list[Any]:
    """Return the callback that ends a training which no longer improves, or none."""
    import transformers

    patience = train.early_stopping_patience
    return [transformers.EarlyStoppingCallback(patience)] if patience and has_validation else []


def common_arguments(train: TrainSettings, run_path: Path, *, has_validation: bool) -> dict[str, Any]:
    """Return what every trainer of TRL is told: the train section, when to validate, where to save."""
    import torch

    passed = train.model_dump(exclude={*OWN_KEYS, *ADAPTER_KEYS})
    if train.train_sampling_strategy == SHORT_FIRST:
        passed["train_sampling_strategy"] = "group_by_length"
    has_gpu = torch.cuda.is_available()
    return {
        **passed,
        **process_arguments(train),
        "output_dir": str(run_path / "checkpoints"),
        "eval_strategy": "steps" if has_validation else "no",
        "save_strategy": "steps",
        "save_steps": train.eval_steps,
        "load_best_model_at_end": has_validation,
        "metric_for_best_model": "eval_loss" if has_validation else None,
        "greater_is_better": False if has_validation else None,
        "disable_tqdm": True,
        "logging_first_step": True,
        "dataloader_pin_memory": has_gpu,
        "use_cpu": not has_gpu,
        "run_name": run_path.name,
    }


def load_base(settings: Settings) -> Any:
    """Load the base in the type that its training wants."""
    import torch

    options: dict[str, Any] = {}
    if settings.train.method == "qlora":
        from transformers import BitsAndBytesConfig

        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    dtype = base_dtype(settings.train)
    return load_weights(settings.base_model(), dtype, revision=settings.model.revision, **options)


def last_complete_checkpoint(run_path: Path) -> Path | None:
    """Return the newest checkpoint that was written to its end, and remove those that were not."""
    complete: list[tuple[int, Path]] = []
    for folder in (run_path / "checkpoints").glob("checkpoint-*"):
        if (folder / CHECKPOINT_MARK).is_file():
            complete.append((int(folder.name.rpartition("-")[2]), folder))
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return max(complete)[1] if complete else None
