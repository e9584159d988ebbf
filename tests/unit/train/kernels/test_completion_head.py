"""Scores of completions against a full softmax over every position."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import log_softmax
from transformers import AutoModelForCausalLM
from trl.trainer.utils import add_fused_lm_head

from train.kernels.completion_head import has_plain_frozen_head, score_completions_only


def model_of(base: Path) -> Any:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model.requires_grad_(False)
    return model


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    """Two rows of token ids, the second one padded, whose last tokens are completions."""
    ids = torch.randint(3, 250, (2, 12), generator=torch.Generator().manual_seed(0))
    labels, mask = ids.clone(), torch.ones_like(ids)
    labels[0, :7] = labels[1, :4] = labels[1, 9:] = -100
    mask[1, 9:] = 0
    return {"input_ids": ids, "labels": labels, "attention_mask": mask}


@pytest.mark.parametrize("chunk", [1, 700, 10**6], ids=["a position at a time", "in two parts", "at once"])
def test_scores_and_gradients_are_those_of_a_full_softmax(
    tiny_base: Path, batch: dict[str, torch.Tensor], chunk: int
) -> None:
    labels = batch.pop("labels")
    embeddings = model_of(tiny_base).get_input_embeddings()(batch.pop("input_ids"))
    full = log_softmax(
        model_of(tiny_base)(inputs_embeds=(x := embeddings.clone().requires_grad_()), **batch).logits, -1
    )
    right = labels[:, 1:]
    expected = full[:, :-1].gather(-1, right.clamp(min=0)[..., None]).squeeze(-1) * (right != -100)
    importance = torch.linspace(0.5, 2, right.numel()).view(right.shape)
    (expected * importance).sum().backward()

    model = model_of(tiny_base)
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "is_top1"))
    theirs = model(inputs_embeds=embeddings, labels=labels, fused_lm_head=True, **batch)
    score_completions_only(model, chunk)
    ours = model(inputs_embeds=(z := embeddings.clone().requires_grad_()), labels=labels, fused_lm_head=True, **batch)
    (ours.log_probs * importance).sum().backward()

    assert torch.allclose(ours.log_probs, expected, atol=1e-5)
    assert torch.allclose(z.grad, x.grad, rtol=1e-4, atol=1e-5)
    assert torch.allclose(ours.entropy, theirs.entropy, atol=1e-5)
    assert torch.equal(ours.is_top1, theirs.is_top1)
    assert torch.equal(ours.label_mask, right != -100)


def test_generation_still_gets_every_logit(tiny_base: Path, batch: dict[str, torch.Tensor]) -> None:
    model = model_of(tiny_base)
    expected = model(input_ids=batch["input_ids"]).logits
    add_fused_lm_head(model)
    score_completions_only(model)
    assert torch.equal(model(input_ids=batch["input_ids"]).logits, expected)


def test_a_trained_or_capped_output_layer_is_left_to_trl(tiny_base: Path) -> None:
    model = model_of(tiny_base)
    assert has_plain_frozen_head(model)
    model.config.final_logit_softcapping = 30.0
    assert not has_plain_frozen_head(model)
    model.config.final_logit_softcapping = None
    model.get_output_embeddings().requires_grad_(True)
    assert not has_plain_frozen_head(model)
