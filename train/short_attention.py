"""Queries, keys and values of short rows become attention by plain batched products.

PyTorch's fused attention on a CPU works in blocks made for long rows; on rows of 35 tokens in bfloat16 its forward and
backward pass take five times what the products themselves take. Longer rows still go to it.
"""

from typing import Any

import torch

NAME = "driftwheel_short"
LONGEST_ROW_TOKENS = 128


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Return the attended values as (rows, tokens, heads, width); query is (rows, heads, tokens, width).

    Key and value may have fewer heads, each shared by neighbors among the query's; they are not copied.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    rows, heads, tokens, width = query.shape
    if dropout or tokens != key.shape[2] or tokens > LONGEST_ROW_TOKENS or options.get("position_bias") is not None:
        return sdpa_attention_forward(  # type: ignore[no-any-return]  # transformers is untyped
            module, query, key, value, attention_mask, dropout, scaling, is_causal, **options
        )
    shared = (rows, key.shape[1], heads // key.shape[1])
    scale = width**-0.5 if scaling is None else scaling
    folded = query.reshape(rows, key.shape[1], -1, width)
    scores = torch.matmul(folded, (key * scale).transpose(2, 3)).view(*shared, tokens, tokens)
    is_causal = module.is_causal if is_causal is None else is_causal
    if attention_mask is None and is_causal:
        attention_mask = torch.ones(tokens, tokens, dtype=torch.bool, device=query.device).tril()[None, None]
    if attention_mask is not None:
        scores = _masked(scores, attention_mask[:, :, None])
    chances = torch.softmax(scores, -1).view(rows, key.shape[1], -1, tokens)
    attended = torch.matmul(chances, value).view(rows, heads, tokens, -1)
    return attended.transpose(1, 2).contiguous(), None


def _masked(scores: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    if mask.dtype is torch.bool:
        return scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores + mask


def use_short_attention(model: Any) -> bool:
    """Let a model that would use PyTorch's fused attention attend by products where rows are short; tell whether."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    if model.config._attn_implementation != "sdpa":
        return False
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)
    return True
