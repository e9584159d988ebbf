"""A trainer on a CPU against plain TRL's: the same gradients, the same curve twice, a plain adapter in the end."""

from pathlib import Path
from typing import Any

import pytest
import torch

from driftwheel.records.nouns import Dataset
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.text.conversations import Message
from train.data.examples import read_examples
from train.finetune import finetune
from train.runs import weights_path
from train.training.trainer import make_trainer


def conversations(dataset: Dataset, split: str) -> list[dict[str, list[Message]]]:
    examples = read_examples(Path(dataset.path) / f"{split}.jsonl")
    return [{"prompt": example.prompt, "completion": example.completion} for example in examples]


def plain_trainer(settings: Settings, dataset: Dataset, folder: Path) -> Any:
    import datasets
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    train = settings.train
    return SFTTrainer(
        model=settings.base_model(),
        args=SFTConfig(
            output_dir=str(folder),
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            seed=train.seed,
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=datasets.Dataset.from_list(conversations(dataset, "train")),
        peft_config=LoraConfig(
            r=train.lora_r, lora_alpha=train.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
    )


def gradients(trainer: Any, rows: int) -> tuple[float, dict[str, torch.Tensor]]:
    """Return the loss of the first rows and its gradients, with adapters that are not zero any more."""
    generator = torch.Generator().manual_seed(0)
    for _, parameter in sorted(trainer.model.named_parameters()):
        if parameter.requires_grad:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    batch = trainer.data_collator([trainer.train_dataset[n] for n in range(rows)])
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    found = {n: p.grad for n, p in trainer.model.named_parameters() if p.requires_grad}
    return float(loss.detach()), found


@pytest.mark.parametrize(("bf16", "tolerance"), [(False, 1e-4), (True, 0.06)], ids=["float32", "bfloat16"])
def test_loss_and_gradients_are_those_of_plain_trl(
    train_settings: Settings, dataset: Dataset, tmp_path: Path, bf16: bool, tolerance: float
) -> None:
    settings = train_settings.model_copy(update={"train": train_settings.train.model_copy(update={"bf16": bf16})})
    ours = make_trainer(settings.train, settings.base, Path(dataset.path), tmp_path / "ours", [])
    loss, mine = gradients(ours, 6)
    expected_loss, theirs = gradients(plain_trainer(settings, dataset, tmp_path / "theirs"), 6)

    assert loss == pytest.approx(expected_loss, rel=tolerance)
    assert mine.keys() == theirs.keys()
    for name, gradient in theirs.items():
        assert torch.linalg.norm(mine[name] - gradient) <= tolerance * torch.linalg.norm(gradient), name


def test_peft_alone_reads_the_adapter_and_finds_the_same_validation_loss(
    train_settings: Settings, ledger: Ledger, dataset: Dataset, tiny_base: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = finetune(train_settings, ledger, dataset.id)
    base = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, weights_path(run)).eval()
    tokenizer = AutoTokenizer.from_pretrained(weights_path(run))
    total, count = 0.0, 0
    for row in conversations(dataset, "validation"):
        prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False)
        tokens = torch.tensor(tokenizer.apply_chat_template(row["prompt"] + row["completion"], return_dict=False))
        with torch.no_grad():
            logits = model(input_ids=tokens[None]).logits[0, len(prompt) - 1 : -1]
        total += float(torch.nn.functional.cross_entropy(logits, tokens[len(prompt) :], reduction="sum"))
        count += len(tokens) - len(prompt)
    assert total / count == pytest.approx(run.metrics.eval_loss, rel=0.02)
