"""Makes TRL's DPO or KTO trainer from settings and a Dataset of preferences.

With adapters the reference model is the base with the adapters switched off, which costs no memory.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import structlog
import transformers

from driftwheel.errors import ConfigError, DataError
from driftwheel.settings.data import Base
from driftwheel.settings.training import TrainSettings
from train.base_model import load_base_tokenizer
from train.data.sources.preferences import PreferenceRow, read_preferences
from train.data.tokens.rendering import as_an_engine, token_counts
from train.processes.number_type import with_number_type
from train.training.methods import adapter_config
from train.training.sharding import Arguments
from train.training.trainer import common_arguments, early_stopping, load_base, naming_refused_settings, prepare

log = structlog.get_logger()

RANDOM_ORDER = {"train_sampling_strategy": "random"}  # a pair has no one length to group by
SUPERVISED_ONLY = ("packing", "completion_only_loss", "eval_packing")
"""Arguments that the other trainers of TRL do not know."""


def make_preference_trainer(
    train: TrainSettings, base: Base, dataset_path: Path, run_path: Path, callbacks: Sequence[Any]
) -> Any:
    """Return a DPOTrainer or KTOTrainer; raises ConfigError for settings that TRL refuses."""
    from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

    prepare(train)
    train = with_number_type(train)
    tokenizer = load_base_tokenizer(base)
    rows = {s: _rows(tokenizer, train, dataset_path, s) for s in ("train", "validation")}
    arguments = common_arguments(train, run_path, has_validation=True)
    for name in SUPERVISED_ONLY:
        arguments.pop(name, None)
    arguments["beta"] = train.beta
    is_dpo = train.objective == "dpo"
    arguments |= RANDOM_ORDER if is_dpo else _kto(train.per_device_train_batch_size, rows["train"])
    with naming_refused_settings():
        trainer = (DPOTrainer if is_dpo else KTOTrainer)(
            model=load_base(train, base),
            args=(DPOConfig if is_dpo else KTOConfig)(**arguments),
            train_dataset=datasets.Dataset.from_list(rows["train"]),
            eval_dataset=datasets.Dataset.from_list(rows["validation"]),
            processing_class=tokenizer,
            peft_config=adapter_config(train),
            callbacks=[*callbacks, *early_stopping(train, has_validation=True)],
        )
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer


def _rows(tokenizer: Any, train: TrainSettings, dataset_path: Path, split: str) -> list[PreferenceRow]:
    """Return a split's rows as an engine would give them to the template, without those that TRL would cut.

    Raises DataError if none is short enough.
    """
    stored = read_preferences(dataset_path, train.objective, split)
    rows = [
        {k: as_an_engine(tokenizer.chat_template, v) if isinstance(v, list) else v for k, v in row.items()}
        for row in stored
    ]
    kept = [row for row in rows if _tokens(tokenizer, row) <= train.max_length]
    if not kept:
        needed = min(_tokens(tokenizer, row) for row in rows)
        raise DataError(
            f"every preference of the {split} rows has more tokens than train.max_length {train.max_length}; the "
            f"shortest has {needed}: raise it"
        )
    if left_out := len(rows) - len(kept):
        log.warning("preferences longer than train.max_length are left out", split=split, rows=left_out, of=len(rows))
    return kept


def _tokens(tokenizer: Any, row: PreferenceRow) -> int:
    """Return how long a row is with its longest answer."""
    answers = [row[name] for name in ("chosen", "rejected", "completion") if name in row]
    return max(token_counts(tokenizer, [([*row["prompt"], *answer], []) for answer in answers]))


def _kto(batch: int, rows: Sequence[PreferenceRow]) -> Arguments:
    """Return KTO's own arguments: good and bad answers weigh the same in sum (Ethayarajh et al. 2024, section 4.2).

    Raises DataError if all thumbs point one way, ConfigError for a batch of one.
    """
    if batch < 2:
        raise ConfigError("kto compares the answers of a batch; set train.per_device_train_batch_size to 2 or more")
    good = sum(row["label"] for row in rows)
    bad = len(rows) - good
    if not good or not bad:
        raise DataError(f"all {len(rows)} thumbs point {'up' if good else 'down'}; kto needs both kinds")
    return {
        # TRL's KTO refuses any other order than the stored one.
        "train_sampling_strategy": "sequential",
        "desirable_weight": max(1.0, bad / good),
        "undesirable_weight": max(1.0, good / bad),
    }
