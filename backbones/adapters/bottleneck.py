"""Bottleneck adapters: two linear layers with a residual, one after every block of a frozen transformer.

Houlsby et al., "Parameter-Efficient Transfer Learning for NLP", ICML 2019, arXiv 1902.00751, in the sequential
placement after the whole block.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from backbones.base import Backbone


class BottleneckAdapter(nn.Module):
    """x + W_up GELU(W_down x), token by token; starts as the identity.

    Args:
        width: D of the tokens.
        bottleneck: width between the two layers.
    """

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, N, D) to (B, N, D)."""
        change: torch.Tensor = self.up(F.gelu(self.down(tokens)))
        return tokens + change


def attach_bottlenecks(backbone: Backbone, bottleneck: int) -> list[nn.Module]:
    """Put an adapter after every block of a backbone; its parameters become ``<block>.adapter.*``.

    Returns:
        The adapters, first block first.

    Raises:
        ConfigError: the backbone has no blocks.
    """
    adapters: list[nn.Module] = []
    for index in range(len(backbone.block_list())):
        adapters.append(BottleneckAdapter(backbone.embed_dim, bottleneck))
        backbone.attach_adapter(index, adapters[-1])
    return adapters
