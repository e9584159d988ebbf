"""What chooses a retrain's checkpoint: new rows at least as much as the replayed ones that outnumber them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from driftwheel.errors import DataError
from driftwheel.records.nouns import Dataset
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from train.base_model import load_tokenizer
from train.finetune import finetune
from train.training.checkpoint_choice import validation_weights
from train.training.trainer import make_trainer
from train.tuning.tune import loss_of


def changed(settings: Settings, **train: Any) -> Settings:
    return settings.model_copy(update={"train": settings.train.model_copy(update=train)})


def write_rows(dataset: Dataset, split: str, answers: dict[str, tuple[int, str]]) -> None:
    """Write so many rows of each slice, which all have one answer."""
    rows = [
        {
            "id": f"{split}-{slice_}-{number}",
            "prompt": [{"role": "user", "content": f"{split} {slice_} {number}"}],
            "completion": [{"role": "assistant", "content": answer}],
            "label": None,
            "group": f"{split}-{slice_}-{number}",
            "slice": slice_,
        }
        for slice_, (count, answer) in answers.items()
        for number in range(count)
    ]
    (Path(dataset.path) / f"{split}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")


def test_replayed_rows_never_outweigh_the_new_ones() -> None:
    rows = [("old", 10), ("new", 6), ("old", 20)]
    assert validation_weights({"old", "new"}, rows) == [0.2, 1.0, 0.2]
    assert validation_weights({"old", "new"}, [("old", 3), ("new", 6)]) == [1.0, 1.0], "few old rows are not raised"
    assert validation_weights({"new"}, [("new", 6)]) == [1.0]
    assert validation_weights({"old"}, [("old", 3), ("old", 6)]) == [1.0, 1.0], "a first Dataset has one kind of rows"


def test_where_only_replayed_rows_validate_none_chooses() -> None:
    assert validation_weights({"old", "new"}, [("old", 3)]) is None
    assert validation_weights({"old", "new"}, []) is None
    assert validation_weights({"old"}, []) is None


@pytest.mark.parametrize("is_joined", [True, False], ids=["joined", "padded"])
def test_the_validation_loss_is_the_mean_of_new_and_replayed_rows(
    train_settings: Settings, dataset: Dataset, tmp_path: Path, is_joined: bool
) -> None:
    write_rows(dataset, "train", {"new": (2, "go")})
    write_rows(dataset, "validation", {"old": (7, "stay where you are"), "new": (2, "go")})
    plain = changed(train_settings, bf16=False, max_length=200)
    model = AutoModelForCausalLM.from_pretrained(plain.base_model(), dtype=torch.float64).eval()
    tokenizer = load_tokenizer(plain.base_model())
    losses: dict[str, list[float]] = {"old": [], "new": []}
    for line in (Path(dataset.path) / "validation.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False)
        whole = torch.tensor(tokenizer.apply_chat_template(row["prompt"] + row["completion"], return_dict=False))
        with torch.no_grad():
            logits = model(input_ids=whole[None]).logits[0, len(prompt) - 1 : -1]
        losses[row["slice"]] += cross_entropy(logits, whole[len(prompt) :], reduction="none").tolist()
    expected = sum(sum(own) / len(own) for own in losses.values()) / 2
    for batch in (2, 5):
        settings = changed(plain, per_device_eval_batch_size=batch)
        trainer = make_trainer(settings.train, settings.base, Path(dataset.path), tmp_path / f"run{batch}", [])
        trainer.padding_free = trainer.data_collator.padding_free = is_joined
        assert trainer.evaluate()["eval_loss"] == pytest.approx(expected, rel=1e-5), batch


RETRAIN = {
    "method": "full",
    "max_steps": 12,
    "eval_steps": 4,
    "early_stopping_patience": 0,
    "learning_rate": 0.02,
    "lr_scheduler_type": "constant",
    "per_device_train_batch_size": 4,
    "train_sampling_strategy": "sequential",
    "bf16": False,
}


def test_a_retrain_keeps_the_step_that_has_learned_the_new(
    train_settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    """Eight steps teach what the live version knew, the last four the new; 57 of 60 validation rows are old ones."""
    write_rows(dataset, "train", {"old": (32, "zzzz"), "new": (16, "aaaa")})
    write_rows(dataset, "validation", {"old": (57, "zzzz"), "new": (3, "aaaa")})
    run = finetune(changed(train_settings, **RETRAIN), ledger, dataset.id)
    assert run.metrics.best_step == 12


def test_without_a_new_row_to_validate_the_last_step_is_kept(
    train_settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    write_rows(dataset, "train", {"old": (4, "zzzz"), "new": (8, "aaaa")})
    write_rows(dataset, "validation", {"old": (36, "qqqq")})
    run = finetune(changed(train_settings, **RETRAIN), ledger, dataset.id)
    assert run.metrics.steps == 12
    assert run.metrics.eval_loss is None
    with pytest.raises(DataError, match="replayed ones alone may not"):
        loss_of(run)
