"""Settings and a dataset folder become a TRL trainer, and a folder of checkpoints the one to resume from."""

import importlib.util
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from driftwheel.config import Settings, TrainSettings
from driftwheel.errors import ArtifactError, ConfigError, DataError
from train.base_model import load_tokenizer, load_weights
from train.progress import CHECKPOINT_MARK


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


def check_method(train: TrainSettings) -> None:
    """Raise ConfigError if this machine cannot train that way."""
    import torch

    if train.method != "qlora":
        return
    if not torch.cuda.is_available():
        raise ConfigError("train.method qlora needs a CUDA GPU and there is none; set train.method to lora")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError("train.method qlora needs bitsandbytes; install the gpu extra: pip install -e '.[gpu]'")


def make_trainer(
    settings: Settings,
    dataset_path: Path,
    run_path: Path,
    callbacks: Sequence[Any],
) -> Any:
    """Return an SFTTrainer with model, rows, early stopping and checkpoints set up, its loss on completions only.

    Raises ConfigError for settings that TRL refuses, NotFoundError for a missing base model.
    """
    import datasets
    import torch
    import transformers
    from trl import SFTTrainer

    train = settings.train
    check_method(train)
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.set_seed(train.seed)
    rows, validation = read_split(dataset_path, "train"), read_split(dataset_path, "validation")
    if not rows:
        raise DataError(f"{dataset_path} has no training rows; add data and build the dataset again")
    patience = train.early_stopping_patience
    try:
        arguments = _arguments(train, run_path, has_validation=bool(validation))
        trainer = SFTTrainer(
            model=_load(settings),
            args=arguments,
            train_dataset=datasets.Dataset.from_list(rows),
            eval_dataset=datasets.Dataset.from_list(validation) if validation else None,
            processing_class=load_tokenizer(settings.base_model(), revision=settings.model.revision),
            peft_config=None if train.method == "full" else _adapter(train),
            callbacks=[
                *callbacks,
                *([transformers.EarlyStoppingCallback(patience)] if patience and validation else []),
            ],
        )
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"the train section cannot be used: {str(error).splitlines()[0]}") from error
    trainer.remove_callback(transformers.PrinterCallback)
    if not torch.cuda.is_available():
        _spare_the_cpu(trainer)
    return trainer


def _spare_the_cpu(trainer: Any) -> None:
    """Leave out what a training step would compute in vain; each module says what that is."""
    from train.adapted_linear import fuse_adapters
    from train.completion_head import has_plain_frozen_head, score_completions_only
    from train.frozen_norm import replace_norms
    from train.short_attention import use_short_attention

    model = trainer.model
    fuse_adapters(model)
    replace_norms(model)
    if use_short_attention(model):
        # TRL takes this setting only without max_length; here every row has already been cut.
        trainer.padding_free = trainer.data_collator.padding_free = True
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    if has_plain_frozen_head(causal):
        score_completions_only(causal)


def _arguments(train: TrainSettings, run_path: Path, *, has_validation: bool) -> Any:
    import torch
    from trl import SFTConfig

    passed = train.model_dump(
        exclude={
            "method", "executor", "early_stopping_patience", "lora_r", "lora_alpha", "lora_dropout",
            "lora_target_modules",
        }
    )  # fmt: skip
    has_gpu = torch.cuda.is_available()
    return SFTConfig(
        **passed,
        output_dir=str(run_path / "checkpoints"),
        eval_strategy="steps" if has_validation else "no",
        save_strategy="steps",
        save_steps=train.eval_steps,
        load_best_model_at_end=has_validation,
        metric_for_best_model="eval_loss" if has_validation else None,
        greater_is_better=False if has_validation else None,
        completion_only_loss=True,
        eval_packing=False,
        disable_tqdm=True,
        logging_first_step=True,
        dataloader_pin_memory=has_gpu,
        use_cpu=not has_gpu,
        run_name=run_path.name,
    )


def _load(settings: Settings) -> Any:
    """Load the base in the type that its training wants.

    A frozen base needs no more than bfloat16, which is several times faster. Weights that are trained stay in
    float32: a small step is lost when it is added to a bfloat16 number.
    """
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
    is_frozen = settings.train.method != "full"
    dtype = "bfloat16" if is_frozen and settings.train.bf16 else "float32"
    return load_weights(settings.base_model(), dtype, revision=settings.model.revision, **options)


def _adapter(train: TrainSettings) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=train.lora_r,
        lora_alpha=train.lora_alpha,
        lora_dropout=train.lora_dropout,
        target_modules=train.lora_target_modules,
        task_type="CAUSAL_LM",
    )


def last_complete_checkpoint(run_path: Path) -> Path | None:
    """Return the newest checkpoint that was written to its end, and remove those that were not."""
    complete: list[tuple[int, Path]] = []
    for folder in (run_path / "checkpoints").glob("checkpoint-*"):
        if (folder / CHECKPOINT_MARK).is_file():
            complete.append((int(folder.name.rpartition("-")[2]), folder))
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return max(complete)[1] if complete else None
