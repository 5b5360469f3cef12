"""What every backbone offers to a detector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import nn

from benchmark.errors import ConfigError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
VGGFACE2 = (
    (0.5482207536697388, 0.42340534925460815, 0.3654651641845703),
    (0.2789176106452942, 0.2438540756702423, 0.23493893444538116),
)
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
NORMALIZATIONS = {
    "imagenet": IMAGENET,
    "vggface2": VGGFACE2,
    "clip": CLIP,
    "half": HALF,
    "none": ((0.0,) * 3, (1.0,) * 3),
}

Normalization = tuple[tuple[float, ...], tuple[float, ...]]


class Features(NamedTuple):
    """Output of a backbone.

    Attributes:
        tokens: (B, N, D) tokens in row-major order after any prefix tokens; for CNNs the last feature map as N = H*W.
        pooled: (B, D) one vector per image.
    """

    tokens: torch.Tensor
    pooled: torch.Tensor


class Backbone(nn.Module):
    """Mix-in of all backbones; the network itself keeps the parameter names of its published checkpoints.

    Attributes:
        embed_dim: width D of the pooled feature, and of the tokens unless `token_dim` says otherwise.
        grid_size: (rows, columns) of the token grid.
        num_prefix_tokens: class and register tokens before the grid tokens.
        input_size: side of the square input in pixels.
        normalization: mean and std (RGB, 0-1 scale) the weights were trained with; None when that is not known,
            and the run must then say ``data.normalize``.
        memory_format: layout it computes fastest in (channels_last for CNNs).
        pools_prefix: the pooled feature is read from the prefix tokens alone, so that what the last block does to
            the grid tokens has no effect on it.
    """

    embed_dim: int
    grid_size: tuple[int, int]
    num_prefix_tokens: int
    input_size: int
    normalization: Normalization | None = IMAGENET
    memory_format: torch.memory_format = torch.contiguous_format
    pools_prefix: bool = False

    @property
    def token_dim(self) -> int:
        """Width of the tokens; another than `embed_dim` where the network widens what it pools (MobileNetV3)."""
        return self.embed_dim

    def extract(self, images: torch.Tensor) -> Features:
        """Tokens and pooled feature of images (B, 3, S, S), normalised float."""
        raise NotImplementedError(f"{type(self).__name__} does not implement extract()")

    def layer_ids(self) -> dict[str, int]:
        """Depth of every parameter: 0 for the stem, rising with the blocks, largest after the last block.

        Layer-wise learning-rate decay uses it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define layer_ids()")

    def no_weight_decay(self) -> set[str]:
        """Names of parameters exempt from weight decay besides 1-D ones."""
        return set()

    def block_list(self) -> nn.ModuleList:
        """The blocks after which an adapter can be attached.

        Raises:
            ConfigError: the backbone has no block list (CNNs).
        """
        raise ConfigError(f"{type(self).__name__} has no transformer blocks to attach an adapter to.")

    def embedding_exit(self) -> nn.Module:
        """The module that receives the embedded tokens (B, N, D), positions added, before any pre-norm.

        Raises:
            ConfigError: the backbone has no token embedding (CNNs).
        """
        raise ConfigError(f"{type(self).__name__} has no token embedding.")

    def final_norms(self) -> list[nn.Module]:
        """Normalisation layers after the last block, which adapter tuning trains along."""
        return []

    def own_keys(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """A published spelling of this network's state dict in the network's own; the default changes nothing."""
        return dict(state)

    def attach_adapter(self, index: int, adapter: nn.Module, name: str = "adapter") -> None:
        """Run ``adapter`` on the tokens (B, N, D) that leave block ``index``; its output replaces them.

        The adapter becomes a child of the block, so its parameters are named ``<block>.<name>.*``.

        Raises:
            ValueError: the block already has a child of that name.
        """
        block = self.block_list()[index]
        if hasattr(block, name):
            raise ValueError(f"Block {index} already has an attribute '{name}'.")
        block.add_module(name, adapter)
        block.register_forward_hook(_AdapterHook(name))


class _AdapterHook:
    """Forward hook that sends a block's output through one of its children (a class, so that it pickles)."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, block: nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        adapter: torch.Tensor = getattr(block, self.name)(output)
        return adapter
