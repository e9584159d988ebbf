"""Attention by products against PyTorch's own."""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from train.kernels.short_attention import LONGEST_ROW_TOKENS, attend


def causal_mask(rows: int, tokens: int) -> torch.Tensor:
    """Return a boolean mask whose second row ends in three tokens of padding."""
    mask = torch.ones(tokens, tokens, dtype=torch.bool).tril().expand(rows, 1, tokens, tokens).clone()
    mask[1, :, :, -3:] = False
    mask[1, :, -3:] = True
    return mask


def pytorch_attention(heads: list[torch.Tensor], shared: int, **options: Any) -> torch.Tensor:
    """Return what PyTorch's own attention makes of query, key and value, the last two shared by so many heads."""
    query, key, value = heads
    keys, values = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
    return scaled_dot_product_attention(query, keys, values, scale=0.3, **options)


@pytest.mark.parametrize("shared", [1, 3], ids=["own keys", "shared keys"])
@pytest.mark.parametrize("form", ["none", "boolean", "added"])
@pytest.mark.parametrize("tokens", [7, LONGEST_ROW_TOKENS + 1], ids=["short", "long"])
def test_values_and_gradients_are_those_of_pytorch(shared: int, form: str, tokens: int) -> None:
    generator = torch.Generator().manual_seed(0)
    heads = ((6, 8), (6 // shared, 8), (6 // shared, 8))
    ours = [torch.randn(2, tokens, *h, generator=generator).transpose(1, 2).requires_grad_() for h in heads]
    theirs = [x.detach().clone().requires_grad_() for x in ours]
    mask = None if form == "none" else causal_mask(2, tokens)
    if form == "added" and mask is not None:
        mask = torch.zeros(mask.shape).masked_fill(~mask, -1e9)
    module = SimpleNamespace(is_causal=True, num_key_value_groups=shared)
    query, key, value = ours
    attended, _ = attend(module, query, key, value, mask, scaling=0.3)
    expected = pytorch_attention(theirs, shared, attn_mask=mask, is_causal=mask is None)
    assert torch.allclose(attended, expected.transpose(1, 2), atol=1e-5)
    attended.square().sum().backward()
    expected.square().sum().backward()
    for x, y in zip(ours, theirs, strict=True):
        assert torch.allclose(x.grad, y.grad, atol=1e-4)


@pytest.mark.parametrize("longest", [9, LONGEST_ROW_TOKENS + 1], ids=["short", "one long"])
def test_joined_rows_attend_as_they_do_one_by_one(longest: int) -> None:
    generator, lengths = torch.Generator().manual_seed(0), [4, longest, 1, 6]
    bounds = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)
    shapes = ((6, 8), (2, 8), (2, 8))
    ours = [torch.randn(1, sum(lengths), *s, generator=generator).transpose(1, 2).requires_grad_() for s in shapes]
    theirs = [x.detach().clone().requires_grad_() for x in ours]
    module = SimpleNamespace(is_causal=True, num_key_value_groups=3)
    query, key, value = ours
    joined, _ = attend(module, query, key, value, None, scaling=0.3, cu_seq_lens_q=bounds, max_length_q=longest)
    rows = [[x[:, :, a:b] for x in theirs] for a, b in pairwise(bounds.tolist())]
    expected = torch.cat([pytorch_attention(row, 3, is_causal=True) for row in rows], 2).transpose(1, 2)
    assert torch.allclose(joined, expected, atol=1e-5)
    joined.square().sum().backward()
    expected.square().sum().backward()
    for x, y in zip(ours, theirs, strict=True):
        assert torch.allclose(x.grad, y.grad, atol=1e-4)
