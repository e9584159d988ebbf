"""Computes log-probabilities of the completion's tokens only, not of other positions.

TRL scores every position where it has no Triton kernels, that is on a CPU: the prompt's tokens and the padding too,
once forward and once more backward, and multiplies the gradient in float32. Here only positions with a label reach the
output layer. A frozen output layer needs its product once: the gradient of each log-probability is worked out while
its logits are at hand, and scaled later by what arrives from the loss.
"""

from types import MethodType
from typing import Any

import torch
from torch.distributed.tensor import DTensor
from torch.nn import functional
from trl.trainer.utils import FusedCausalLMOutput

CHUNK_LOGITS = 4_194_304
"""Logits held at once: 16 MiB in float32, which a processor's cache still serves."""


class TokenScores(torch.autograd.Function):  # type: ignore[misc]  # torch is not followed
    """Log-probability of each target, entropy and top-1 hit, from hidden states of shape (positions, width)."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        chunk_logits: int,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return three vectors, one number a position; only the first has a gradient."""
        log_probs = hidden.new_empty(len(targets), dtype=torch.float32)
        entropy = torch.empty_like(log_probs)
        is_top1 = torch.empty(len(targets), dtype=torch.bool, device=hidden.device)
        slope = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        step = max(1, chunk_logits // len(weight))
        for start in range(0, len(targets), step):
            rows = slice(start, start + step)
            logits = functional.linear(hidden[rows], weight, bias).float()
            right = targets[rows, None]
            highest = logits.max(-1, keepdim=True)
            is_top1[rows] = (highest.indices == right).squeeze(-1)
            weights = logits.sub_(highest.values).exp()
            total = weights.sum(-1, keepdim=True)
            log_total = total.log()
            log_probs[rows] = (logits.gather(-1, right) - log_total).squeeze(-1)
            entropy[rows] = (log_total - torch.linalg.vecdot(weights, logits).unsqueeze(-1) / total).squeeze(-1)
            if slope is not None:
                # d log p_target / d logits = onehot(target) - p
                weights.div_(total.neg_()).scatter_add_(-1, right, torch.ones_like(total))
                slope[rows] = weights.to(weight.dtype) @ weight
        ctx.save_for_backward(slope)
        ctx.mark_non_differentiable(entropy, is_top1)
        return log_probs, entropy, is_top1

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor, *_: Any) -> tuple[torch.Tensor | None, ...]:
        """Scale the slope that the forward pass worked out."""
        (slope,) = ctx.saved_tensors
        return slope * grad.to(slope.dtype).unsqueeze(-1), None, None, None, None


def score_completions_only(model: Any, chunk_logits: int = CHUNK_LOGITS) -> None:
    """Replace the fused forward pass that TRL gave to a causal language model; its other uses stay as they were.

    The model must have a frozen output layer and plain logits.
    """
    fused_forward = model.forward

    def forward(self: Any, *args: Any, fused_lm_head: bool = False, labels: Any = None, **options: Any) -> Any:
        if not fused_lm_head or options.get("shift_labels") is not None:
            return fused_forward(*args, fused_lm_head=fused_lm_head, labels=labels, **options)
        options.pop("num_items_in_batch", None)
        hidden = self.base_model(*args, **{**options, "use_cache": False}).last_hidden_state[:, :-1]
        targets = labels[:, 1:]
        mask = targets != -100
        head = self.get_output_embeddings()
        weight, bias = (whole(x) for x in (head.weight, head.bias))
        scores = TokenScores.apply(hidden[mask], weight, bias, targets[mask], chunk_logits)
        log_probs, entropy, is_top1 = (s.new_zeros(mask.shape).masked_scatter(mask, s) for s in scores)
        return FusedCausalLMOutput(log_probs=log_probs, entropy=entropy, is_top1=is_top1, label_mask=mask)

    model.forward = MethodType(forward, model)


def whole(parameter: Any) -> Any:
    """Gather a parameter that FSDP2 shards; by itself it does so for layers that are called, and the head is not."""
    return parameter.full_tensor() if isinstance(parameter, DTensor) else parameter


def has_plain_frozen_head(model: Any) -> bool:
    """Tell whether logits are one product with a frozen matrix, without scale, cap or experts' extra loss."""
    config = model.config.get_text_config()
    special = ("final_logit_softcapping", "logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")
    head = model.get_output_embeddings()
    return (
        type(head) is torch.nn.Linear
        and not head.weight.requires_grad
        and not any(getattr(config, name, None) for name in special)
        and not getattr(config, "output_router_logits", False)
    )
