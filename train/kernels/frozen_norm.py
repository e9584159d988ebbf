"""A frozen RMSNorm for CPUs: its gradient takes six passes over memory instead of twenty."""

from types import MethodType
from typing import Any

import torch


class FrozenNorm(torch.autograd.Function):  # type: ignore[misc]  # torch is not followed
    """y = weight * x / sqrt(mean(x^2) + epsilon), normalized in float32 (Zhang and Sennrich 2019, equation 4)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        """Return y in the type of x; x is (..., width)."""
        wide = x.float()
        mean_square = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_().div_(x.shape[-1])
        inverse = mean_square.add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, weight, inverse)
        return (wide * inverse).to(x.dtype).mul_(weight)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """Return the gradient of x."""
        x, weight, inverse = ctx.saved_tensors
        normal, slope = x.float() * inverse, (grad * weight).float()
        along = torch.linalg.vecdot(slope, normal).unsqueeze_(-1).div_(x.shape[-1])
        return slope.sub_(normal.mul_(along)).mul_(inverse).to(x.dtype), None, None


def replace_norms(model: Any) -> int:
    """Let each frozen layer that is proved to be such an RMSNorm use it; return how many do.

    Models write this layer under many names and in a few variants, so a layer is asked, not named: it must answer two
    random inputs as `FrozenNorm` does.
    """
    layers = [m for m in model.modules() if type(m).__name__.endswith("RMSNorm") and _is_frozen_norm(m)]
    for layer in layers:
        layer.forward = MethodType(_forward, layer)
    return len(layers)


def _is_frozen_norm(layer: Any) -> bool:
    weight, epsilon = getattr(layer, "weight", None), getattr(layer, "variance_epsilon", None)
    if weight is None or epsilon is None or weight.requires_grad or weight.dim() != 1:
        return False
    generator = torch.Generator(weight.device).manual_seed(0)
    for size in (1.0, 0.01):
        x = torch.randn(2, 3, len(weight), generator=generator, device=weight.device).mul(size).to(weight.dtype)
        with torch.no_grad():
            if not torch.allclose(layer(x).float(), FrozenNorm.apply(x, weight, epsilon).float(), rtol=0.01, atol=1e-6):
                return False
    return True


def _forward(self: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    if hidden_states.dtype is not self.weight.dtype:
        return type(self).forward(self, hidden_states)
    return FrozenNorm.apply(hidden_states, self.weight, self.variance_epsilon)
