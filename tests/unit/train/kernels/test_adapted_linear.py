"""The fused adapter against PEFT's own forward and backward pass."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from train.kernels.adapted_linear import fuse_adapters


class Net(torch.nn.Module):  # type: ignore[misc] # torch is not followed
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.first = torch.nn.Linear(24, 40, dtype=dtype)
        self.second = torch.nn.Linear(40, 8, bias=False, dtype=dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(self.first(x)))


def adapted(dtype: torch.dtype, **options: Any) -> Any:
    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=12, target_modules=["first", "second"], **options)
    model = get_peft_model(Net(dtype), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def passes(model: Any, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return the output, and the gradients of the input and of each adapter."""
    x = x.clone().requires_grad_()
    y = model(x)
    y.float().square().sum().backward()
    return y.detach(), [x.grad, *(p.grad for p in model.parameters() if p.requires_grad)]


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.bfloat16, 0.05)], ids=["float64", "bfloat16"]
)
def test_answers_and_gradients_are_those_of_peft(dtype: torch.dtype, tolerance: float) -> None:
    x = torch.randn(3, 5, 24, generator=torch.Generator().manual_seed(1)).to(dtype)
    expected_y, expected_gradients = passes(adapted(torch.float64), x.double())
    model = adapted(dtype)
    model.load_state_dict(adapted(torch.float64).state_dict())
    assert fuse_adapters(model) == 2
    y, gradients = passes(model, x)

    assert len(gradients) == 5
    for ours, theirs in zip([y, *gradients], [expected_y, *expected_gradients], strict=True):
        assert torch.linalg.norm(ours.double() - theirs.double()) <= tolerance * torch.linalg.norm(theirs.double())


@pytest.mark.parametrize("options", [{"lora_dropout": 0.1}, {"use_dora": True}], ids=["dropout", "DoRA"])
def test_leaves_other_kinds_of_adapters_to_peft(options: dict[str, Any]) -> None:
    assert fuse_adapters(adapted(torch.float32, **options)) == 0


def test_a_disabled_or_merged_adapter_takes_peft_s_own_path() -> None:
    model, x = adapted(torch.float32), torch.randn(2, 24)
    with model.disable_adapter():
        plain = model(x)
    fuse_adapters(model)
    tuned = model(x)
    with model.disable_adapter():
        assert torch.equal(model(x), plain)
    model.merge_adapter()
    assert torch.allclose(model(x), tuned, atol=1e-5)
    assert not torch.allclose(tuned, plain, atol=1e-2)
