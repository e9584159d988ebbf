"""A fused CPU kernel for a frozen linear layer with its LoRA adapter, without copies.

PEFT casts the layer's whole input to the adapter's float32 and autocast casts it back; the adapter's output is scaled
and added by two more passes over the layer's output. Here both products of the adapter accumulate into the result of
the frozen layer, forward and backward. The adapter stays PEFT's own module with its float32 weights: saving, merging
and optimizing it are unchanged.
"""

from types import MethodType
from typing import Any

import torch
from torch.nn import functional


class AdaptedLinear(torch.autograd.Function):  # type: ignore[misc]  # torch is not followed
    """y = x W' + bias + scale * (x A') B', with W and the bias frozen."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        """Return y; x is (..., inputs), weight (outputs, inputs), a (rank, inputs), b (outputs, rank)."""
        rows = x.reshape(-1, x.shape[-1])
        narrow_a, narrow_b = a.to(x.dtype), (b * scale).to(x.dtype)
        low = rows @ narrow_a.t()
        y = functional.linear(rows, weight, bias)
        y.addmm_(low, narrow_b.t())
        ctx.save_for_backward(rows, low, weight, narrow_a, narrow_b)
        ctx.scale, ctx.shape = scale, x.shape
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of x, a and b."""
        rows, low, weight, narrow_a, narrow_b = ctx.saved_tensors
        grad = grad.reshape(-1, grad.shape[-1])
        grad_low = grad @ narrow_b
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad @ weight).addmm_(grad_low, narrow_a).view(ctx.shape)
        grad_a = (grad_low.t() @ rows).float()
        grad_b = (low.t() @ grad).t().float() * ctx.scale
        return grad_x, None, None, grad_a, grad_b, None


def fuse_adapters(model: Any) -> int:
    """Let each plain LoRA layer of a PEFT model compute in one step; return how many do.

    A layer is plain when its frozen part is an unquantized linear layer and it has one adapter without dropout, bias or
    variant. A layer with anything else keeps PEFT's own forward pass, and so does a call that asks for more than one
    adapter, a disabled or a merged one.
    """
    from peft.tuners.lora.layer import Linear

    layers = [m for m in model.modules() if type(m) is Linear and _is_plain(m)]
    for layer in layers:
        layer.forward = MethodType(_forward, layer)
    return len(layers)


def _is_plain(layer: Any) -> bool:
    base, (name, *others) = layer.get_base_layer(), list(layer.lora_A)
    return (
        type(base) is torch.nn.Linear
        and not base.weight.requires_grad
        and not others
        and not layer.lora_variant
        and not layer.lora_bias[name]
        and isinstance(layer.lora_dropout[name], torch.nn.Identity)
    )


def _forward(self: Any, x: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
    base = self.get_base_layer()
    if args or options or self.disable_adapters or self.merged or x.dtype is not base.weight.dtype:
        return type(self).forward(self, x, *args, **options)
    (name,) = self.lora_A
    a, b = self.lora_A[name].weight, self.lora_B[name].weight
    return AdaptedLinear.apply(x, base.weight, base.bias, a, b, self.scaling[name])
