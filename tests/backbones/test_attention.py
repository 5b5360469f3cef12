"""backbones/attention.py: the same values and gradients as PyTorch's module, whatever is frozen."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from backbones.attention import Attention


@pytest.fixture
def pair():
    torch.manual_seed(0)
    own, reference = Attention(24, 3), nn.MultiheadAttention(24, 3, batch_first=True)
    nn.init.normal_(own.in_proj_bias)
    reference.load_state_dict(own.state_dict(), strict=True)
    return own, reference


@pytest.mark.parametrize("mask", [False, True])
def test_values_and_gradients(pair, mask):
    tokens, other = torch.randn(2, 5, 24), torch.randn(2, 5, 24)
    shape = torch.zeros(5, 5).masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf) if mask else None
    for inputs in ((tokens, tokens, tokens), (tokens, other, other), (tokens, other, tokens)):
        results = [module(*inputs, need_weights=False, attn_mask=shape)[0] for module in pair]
        torch.testing.assert_close(*results)
        for module, result in zip(pair, results, strict=True):
            module.zero_grad()
            result.square().sum().backward()
        for (name, one), (_, two) in zip(*(module.named_parameters() for module in pair), strict=True):
            torch.testing.assert_close(one.grad, two.grad, atol=1e-4, rtol=1e-4, msg=name)


def test_frozen_weights_are_never_repeated(pair):
    """PyTorch's module turns its projections into batched products with the weight repeated for every token."""
    tokens = torch.randn(2, 5, 24, requires_grad=True)
    used = []
    for module in pair:
        module.requires_grad_(False)
        with torch.profiler.profile() as profile:
            module(tokens, tokens, tokens, need_weights=False)[0].sum().backward()
        used.append({event.key for event in profile.key_averages()})
    assert "aten::bmm" not in used[0]
