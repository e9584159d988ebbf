"""The evaluator of `benchmarks.equal_steps`: reads a LoRA adapter, whoever trained it, and says its loss on answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RANK = 32
EVALUATED_ROWS = 50
"""Rows of one forward pass; more of them take more memory and no less time on a CPU."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A question and its right answer."""

    question: str
    answer: str


def row_of(pair: Pair) -> dict[str, Any]:
    """Return the row of a Dataset that teaches this pair."""
    return {
        "prompt": [{"role": "user", "content": pair.question}],
        "completion": [{"role": "assistant", "content": pair.answer}],
    }


def make_evaluator(base: Path, pairs: Sequence[Pair]) -> Callable[[dict[str, Any]], float]:
    """Return the function that reads an adapter's weights and returns its loss on the held-out answers."""
    import torch
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
    from torch.nn.functional import cross_entropy

    from train.base_model import load_tokenizer, load_weights

    tokenizer = load_tokenizer(str(base))
    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(load_weights(str(base), "float32"), config).eval()
    rows = sorted((_tokens(tokenizer, pair) for pair in pairs), key=lambda row: len(row[0]))

    def loss(adapter: dict[str, Any]) -> float:
        set_peft_model_state_dict(model, adapter)
        total, count = 0.0, 0
        for start in range(0, len(rows), EVALUATED_ROWS):
            part = rows[start : start + EVALUATED_ROWS]
            width = max(len(ids) for ids, _ in part)
            ids = torch.tensor([ids + [tokenizer.pad_token_id] * (width - len(ids)) for ids, _ in part])
            labels = torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in part])
            mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in part])
            with torch.no_grad():
                logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
            total += float(cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), reduction="sum"))
            count += int((labels[:, 1:] != -100).sum())
        return total / count

    return loss


def _tokens(tokenizer: Any, pair: Pair) -> tuple[list[int], list[int]]:
    row = row_of(pair)
    prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False)
    whole = tokenizer.apply_chat_template(row["prompt"] + row["completion"], return_dict=False)
    return whole, [-100] * len(prompt) + whole[len(prompt) :]
