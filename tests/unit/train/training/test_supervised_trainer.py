"""Weighted rows, their order and the validation loss, against sums over a plain model's logits in float64."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, TrainerCallback

from driftwheel.errors import ConfigError
from driftwheel.records.nouns import Dataset
from driftwheel.settings.settings import Settings
from driftwheel.settings.training import TrainSettings
from driftwheel.store.ledger import Ledger
from train.base_model import load_tokenizer
from train.finetune import finetune
from train.training.class_weights import row_weights
from train.training.trainer import make_trainer


def changed(settings: Settings, **train: Any) -> Settings:
    return settings.model_copy(update={"train": settings.train.model_copy(update=train)})


def write_rows(dataset: Dataset, split: str, lengths: list[int]) -> None:
    """Write rows whose prompt and answer are that long, two of three of label `many`."""
    rows = []
    for number, length in enumerate(lengths):
        label = "few" if number % 3 == 0 else "many"
        answer = json.dumps({"intent": label, "said": "so " * (number % 4)})
        prompt = [{"role": "user", "content": f"{split} {number} {'word ' * length}"}]
        rows.append(
            {
                "id": f"{split}{number}",
                "prompt": prompt,
                "completion": [{"role": "assistant", "content": answer}],
                "label": label,
                "group": f"{split}{number}",
            }
        )
    (Path(dataset.path) / f"{split}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")


@pytest.fixture
def uneven(dataset: Dataset) -> Dataset:
    write_rows(dataset, "train", [1, 4, 2, 8, 3, 1, 6, 2, 5, 1, 7, 2])
    write_rows(dataset, "validation", [2, 1, 9, 1, 3])
    return dataset


def nats_of_rows(settings: Settings, dataset: Dataset, split: str) -> list[tuple[str, torch.Tensor]]:
    """Return each row's label and the loss of each of its completion's tokens, from the untrained base in float64."""
    model = AutoModelForCausalLM.from_pretrained(settings.base_model(), dtype=torch.float64).eval()
    tokenizer = load_tokenizer(settings.base_model())
    found = []
    for line in (Path(dataset.path) / f"{split}.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False)
        whole = torch.tensor(tokenizer.apply_chat_template(row["prompt"] + row["completion"], return_dict=False))
        whole = whole[: settings.train.max_length]
        with torch.no_grad():
            logits = model(input_ids=whole[None]).logits[0, len(prompt) - 1 : -1]
        found.append((row["label"], cross_entropy(logits, whole[len(prompt) :], reduction="none")))
    return found


def weighted_mean(rows: list[tuple[str, torch.Tensor]], weights: dict[str, float]) -> float:
    total = sum(weights[label] * float(nats.sum()) for label, nats in rows)
    return total / sum(weights[label] * len(nats) for label, nats in rows)


FULL_STEP = {
    "bf16": False,
    "max_length": 200,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 3,
    "max_steps": 1,
    "eval_steps": 1,
    "early_stopping_patience": 0,
}


@pytest.mark.parametrize(
    ("weights", "is_joined", "method"),
    [
        pytest.param("balanced", True, "lora", id="balanced, joined, completion head"),
        pytest.param({"few": 0.003}, False, "lora", id="one label nearly ignored, padded, completion head"),
        pytest.param({"few": 9.0, "many": 0.5}, True, "full", id="both given, joined, TRL's head"),
    ],
)
def test_a_steps_loss_is_the_weighted_mean_over_all_its_batches(
    train_settings: Settings, uneven: Dataset, tmp_path: Path, weights: Any, is_joined: bool, method: str
) -> None:
    settings = changed(train_settings, **FULL_STEP, class_weights=weights, method=method)
    expected = {"few": 12 / (2 * 4), "many": 12 / (2 * 8)} if weights == "balanced" else {"many": 1.0, **weights}
    trainer = make_trainer(settings.train, settings.base, Path(uneven.path), tmp_path / "run", [])
    trainer.padding_free = trainer.data_collator.padding_free = is_joined
    rows = nats_of_rows(settings, uneven, "train")
    assert trainer.train().training_loss == pytest.approx(weighted_mean(rows, expected), rel=2e-5)
    assert weighted_mean(rows, expected) != pytest.approx(weighted_mean(rows, {"few": 1, "many": 1}), rel=2e-4)


def test_the_gradient_is_that_of_the_weighted_mean(train_settings: Settings, uneven: Dataset, tmp_path: Path) -> None:
    settings = changed(train_settings, **FULL_STEP, class_weights={"few": 5.0}, method="full")
    trainer = make_trainer(settings.train, settings.base, Path(uneven.path), tmp_path / "run", [])
    batch = trainer.data_collator([trainer.train_dataset[n] for n in range(6)])
    trainer.compute_loss(trainer.model, batch).backward()

    oracle = AutoModelForCausalLM.from_pretrained(settings.base_model(), dtype=torch.float64).eval()
    total, divisor = torch.zeros((), dtype=torch.float64), 0.0
    for number in range(6):
        row = trainer.train_dataset[number]
        labels, weight = torch.tensor(row["labels"])[1:], 5.0 if number % 3 == 0 else 1.0
        logits = oracle(input_ids=torch.tensor(row["input_ids"])[None]).logits[0, :-1]
        total = total + weight * cross_entropy(logits, labels, reduction="sum", ignore_index=-100)
        divisor += weight * int((labels != -100).sum())
    (total / divisor).backward()
    theirs = dict(oracle.named_parameters())
    for name, parameter in trainer.model.named_parameters():
        if theirs[name].grad is not None:
            assert torch.linalg.norm(parameter.grad - theirs[name].grad) <= 1e-3 * torch.linalg.norm(theirs[name].grad)


@pytest.mark.parametrize("is_joined", [True, False], ids=["joined", "padded"])
def test_the_validation_loss_is_the_mean_over_tokens_whatever_the_batches(
    train_settings: Settings, uneven: Dataset, tmp_path: Path, is_joined: bool
) -> None:
    rows = nats_of_rows(changed(train_settings, **FULL_STEP), uneven, "validation")
    expected = weighted_mean(rows, {"few": 1, "many": 1})
    for batch in (2, 5):
        settings = changed(train_settings, **FULL_STEP, per_device_eval_batch_size=batch, class_weights={"few": 5.0})
        trainer = make_trainer(settings.train, settings.base, Path(uneven.path), tmp_path / f"run{batch}", [])
        trainer.padding_free = trainer.data_collator.padding_free = is_joined
        assert trainer.evaluate()["eval_loss"] == pytest.approx(expected, rel=1e-5), batch


def test_equal_weights_train_as_none_do(train_settings: Settings, ledger: Ledger, uneven: Dataset) -> None:
    settings = changed(train_settings, bf16=False, max_length=200)
    plain = finetune(settings, ledger, uneven.id)
    equal = finetune(changed(settings, class_weights={"few": 3.0, "many": 3.0}), ledger, uneven.id)
    assert equal.id != plain.id
    assert equal.metrics.eval_loss == pytest.approx(plain.metrics.eval_loss, rel=1e-5)


class Lengths(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Keep how long the rows of each training batch are."""

    def __init__(self) -> None:
        self.epochs: list[list[int]] = []

    def watch(self, trainer: Any) -> None:
        collate = trainer.data_collator.torch_call

        def torch_call(rows: list[dict[str, Any]]) -> Any:
            if trainer.model.training:
                self.epochs[-1] += [len(row["input_ids"]) for row in rows]
            return collate(rows)

        trainer.data_collator.torch_call = torch_call

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self.epochs.append([])


def test_short_rows_come_first_in_the_first_epoch_only(
    train_settings: Settings, dataset: Dataset, tmp_path: Path
) -> None:
    write_rows(dataset, "train", [(5 * n) % 12 for n in range(12)])
    (Path(dataset.path) / "validation.jsonl").write_text("", encoding="utf-8")
    lengths = Lengths()
    settings = changed(
        train_settings,
        max_steps=-1,
        num_train_epochs=3,
        per_device_train_batch_size=2,
        max_length=250,
        train_sampling_strategy="short_first",
    )
    trainer = make_trainer(settings.train, settings.base, Path(dataset.path), tmp_path / "run", [lengths])
    lengths.watch(trainer)
    trainer.train()
    first, second, third = lengths.epochs
    assert len(first) == 12
    assert first == sorted(first) == sorted(second) == sorted(third)
    assert first != second != third


@pytest.mark.parametrize("strategy", [None, "short_first"], ids=["by default", "short_first, its second epoch"])
def test_a_steps_rows_are_no_more_alike_in_length_than_chance_makes_them(
    train_settings: Settings, dataset: Dataset, tmp_path: Path, strategy: str | None
) -> None:
    # A step of rows that are alike in length learned less: at equal steps its loss was 1.5 times plain TRL's.
    write_rows(dataset, "train", [1, 9] * 32)
    train = TrainSettings(max_length=250, per_device_train_batch_size=8)
    if strategy is not None:
        train = train.model_copy(update={"train_sampling_strategy": strategy})
    trainer = make_trainer(train, train_settings.base, Path(dataset.path), tmp_path / "run", [])
    trainer.data_collator.torch_call = lambda rows: {"lengths": torch.tensor([len(r["input_ids"]) for r in rows])}
    trainer.data_collator.padding_free = False
    loader = trainer.get_train_dataloader()
    if strategy is not None:
        assert sum(is_mixed(batch) for batch in loader) <= 1, "its first epoch is sorted"
        loader.set_epoch(1)
    batches = list(loader)
    assert sum(map(is_mixed, batches)) == len(batches) == 8
    middle = torch.cat([batch["lengths"] for batch in batches]) > 70
    places = middle.nonzero().double()
    assert 26 < float(places.mean()) < 37, "long rows come at no time of the epoch more than short ones"


def is_mixed(batch: Any) -> bool:
    return len({int(length) > 70 for length in batch["lengths"]}) == 2


def train_section(**changes: Any) -> TrainSettings:
    return TrainSettings(**changes)


@pytest.mark.parametrize(
    ("changes", "labels", "message"),
    [
        ({"class_weights": {"refnd": 2.0}}, ["refund", "card"] * 9, "of no training row; did you mean 'refund'"),
        ({"class_weights": "balanced"}, [f"text {n}" for n in range(10)], "10 rows have 10; name the label"),
    ],
    ids=["unknown label", "free text"],
)
def test_weights_that_fit_no_row_are_refused(changes: dict[str, Any], labels: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        row_weights(train_section(**changes), labels)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"packing": True}, "packing mixes rows"), ({"objective": "dpo"}, "dpo learns from pairs")],
    ids=["packing", "preferences"],
)
def test_weights_are_refused_before_training_where_rows_are_not_told_apart(
    train_settings: Settings, ledger: Ledger, dataset: Dataset, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        finetune(changed(train_settings, class_weights="balanced", **changes), ledger, dataset.id)
