"""The frozen RMSNorm against the models' own, and against those that only look like one."""

import pytest
import torch
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

from train.kernels.frozen_norm import FrozenNorm, replace_norms


def frozen(layer: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(0)
    torch.nn.init.normal_(layer.weight, mean=1.0)
    return layer.requires_grad_(False)


@pytest.mark.parametrize("kind", [LlamaRMSNorm, Qwen3RMSNorm])
def test_values_and_gradients_are_those_of_the_model(kind: type[torch.nn.Module]) -> None:
    layer = frozen(kind(48, eps=1e-5))
    ours = torch.randn(3, 5, 48, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    slope = torch.randn(3, 5, 48)
    (layer(theirs) * slope).sum().backward()
    assert replace_norms(torch.nn.Sequential(layer)) == 1
    (layer(ours) * slope).sum().backward()
    assert torch.allclose(layer(ours), kind.forward(layer, theirs), atol=1e-6)
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-5)


def test_the_gradient_is_the_numerical_one() -> None:
    x = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    # Its inner float32 is too coarse for the default step of the difference quotient.
    assert torch.autograd.gradcheck(
        lambda x: FrozenNorm.apply(x, torch.linspace(0.5, 2, 6, dtype=torch.float64), 1e-5),
        x,
        eps=1e-2,
        atol=1e-3,
        nondet_tol=0.0,
    )


def test_a_norm_of_another_kind_or_a_trained_one_is_left_alone() -> None:
    class OffsetRMSNorm(Qwen3RMSNorm):  # type: ignore[misc] # transformers is not followed
        def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
            return super().forward(hidden_states) * 1.1

    others = torch.nn.Sequential(frozen(Gemma2RMSNorm(48)), frozen(OffsetRMSNorm(48)), Qwen3RMSNorm(48))
    assert replace_norms(others) == 0
