"""Multi-head attention on batch-first tokens without copies of frozen weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class Attention(nn.MultiheadAttention):
    """``nn.MultiheadAttention(batch_first=True)``, same parameters and values, computed without its transposes.

    PyTorch's turns (B, L, D) into a strided (L, B, D) view. A linear layer on such a view whose weight needs no
    gradient becomes a batched product with the weight repeated L times: in a frozen CLIP tower that costs gigabytes
    and most of the time (``perf/README.md``).

    Args:
        width: D.
        heads: divides D.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads, batch_first=True)

    def forward(  # type: ignore[override]
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        **_: Any,
    ) -> tuple[torch.Tensor, None]:
        """Attend from ``query`` (B, L, D) to ``key`` and ``value`` (B, M, D).

        Args:
            query, key, value: tokens.
            attn_mask: broadcasts to (B, heads, L, M): added when float, True = attend when bool.

        Returns:
            (B, L, D) and None in the place of attention maps, which are never formed.
        """
        if query is key and key is value:
            q, k, v = F.linear(query, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        else:
            weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
            inputs = zip((query, key, value), weights, biases, strict=True)
            q, k, v = (F.linear(tokens, weight, bias) for tokens, weight, bias in inputs)
        mixed = F.scaled_dot_product_attention(self._heads(q), self._heads(k), self._heads(v), attn_mask)
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), None

    def _heads(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, L, D) to (B, heads, L, D / heads)."""
        return tokens.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
