"""Attention for short rows on a CPU, by plain batched matrix products.

PyTorch's fused attention on a CPU works in blocks made for long rows; on rows of 35 tokens in bfloat16 its forward and
backward pass take five times what the products themselves take. Longer rows still go to it.
"""

from itertools import pairwise
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

    Key and value may have fewer heads, each shared by neighbors among the query's; they are not copied. Rows joined
    end to end come as one row with its bounds `cu_seq_lens_q` and the longest row's length `max_length_q`.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    bounds, longest = options.get("cu_seq_lens_q"), options.get("max_length_q")
    if bounds is not None and longest is not None:
        if dropout or longest > LONGEST_ROW_TOKENS:
            parts = [
                sdpa_attention_forward(
                    module, *(x[:, :, start:end] for x in (query, key, value)), None, dropout, scaling
                )
                for start, end in pairwise(bounds.tolist())
            ]
            return torch.cat([attended for attended, _ in parts], 1), None
        place = _places(bounds.long(), longest)
        shape = (len(bounds) - 1, longest)
        q, k, v = (_spread(x, place, shape) for x in (query, key, value))
        attended = _products(q, k, v, None, module, scaling)
        return attended.flatten(0, 1).index_select(0, place)[None], None
    tokens = query.shape[2]
    if dropout or tokens != key.shape[2] or tokens > LONGEST_ROW_TOKENS or options.get("position_bias") is not None:
        return sdpa_attention_forward(  # type: ignore[no-any-return]  # transformers is untyped
            module, query, key, value, attention_mask, dropout, scaling, is_causal, **options
        )
    return _products(query, key, value, attention_mask, module, scaling, is_causal), None


def _places(bounds: torch.Tensor, longest: int) -> torch.Tensor:
    """Return where each token of joined rows stands when every row is as long as the longest."""
    row = torch.arange(len(bounds) - 1, device=bounds.device).repeat_interleave(bounds.diff())
    return torch.arange(len(row), device=bounds.device) - bounds[row] + row * longest


def _spread(joined: torch.Tensor, place: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Return (rows, heads, longest, width) from (1, heads, tokens, width), zero where a row has no token."""
    flat = joined[0].transpose(0, 1)
    return (
        flat.new_zeros(shape[0] * shape[1], *flat.shape[1:])
        .index_copy(0, place, flat)
        .unflatten(0, shape)
        .transpose(1, 2)
    )


def _products(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    module: Any,
    scaling: float | None,
    is_causal: bool | None = None,
) -> torch.Tensor:
    rows, heads, tokens, width = query.shape
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
    return attended.transpose(1, 2).contiguous()


def _masked(scores: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    if mask.dtype is torch.bool:
        return scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores + mask


def _mask(*shape: Any, attention_mask: torch.Tensor | None = None, **options: Any) -> torch.Tensor | None:
    """Return no mask for joined rows: a square over all their tokens would outgrow the model."""
    from transformers.masking_utils import sdpa_mask

    if attention_mask is None:
        return None
    found: torch.Tensor | None = sdpa_mask(*shape, attention_mask=attention_mask, **options)
    return found


def use_short_attention(model: Any) -> bool:
    """Let a model that would use PyTorch's fused attention attend by products where rows are short; tell whether.

    It then also takes rows joined end to end, whose bounds the collator passes along, without a mask between them.
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    kinds = getattr(model.config, "layer_types", None) or ["full_attention"]
    has_window = getattr(model.config, "sliding_window", None) is not None and kinds != ["full_attention"] * len(kinds)
    if model.config._attn_implementation != "sdpa" or has_window:
        return False
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, _mask)
    model.set_attn_implementation(NAME)
    return True
