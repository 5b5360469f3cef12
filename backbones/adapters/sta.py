"""StA: the spatiotemporal adapter that lets a frozen image transformer look across the frames of a clip.

Yan et al., "Generalizing Deepfake Video Detection with Plug-and-Play: Video-Level Blending and Spatiotemporal Adapter
Tuning", CVPR 2025, arXiv 2408.17065. One adapter after every block: down-projection, three spatial and three temporal
stacks of depthwise convolutions, cross attention between the two streams, up-projection, residual. Parameter names
are those of the published checkpoint.

Unlike the published code, which interleaves the clips of a batch in the cross attention (``batch_mixing="faithful"``
does that), clips never see each other, and the number of frames follows the input.

Shapes: B clips, T frames, R x C grid of patch tokens, P prefix tokens, D width, c bottleneck width.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from backbones.attention import Attention
from backbones.base import Backbone

BatchMixing = Literal["correct", "faithful"]
ADAPTER_NAME = "Adapter"
TEMPORAL_NAME = "temporal_embedding"


@dataclass
class ClipShape:
    """How many consecutive images of the batch belong to one clip; set before every forward pass."""

    frames: int = 1


@dataclass(frozen=True)
class StASettings:
    """Layout of one adapter.

    Attributes:
        width: D of the tokens.
        grid: (R, C) of the patch tokens.
        prefix_tokens: P class and register tokens, which take no part in the mixing.
        bottleneck: c.
        kernels: sizes n of the stacks: spatial kernels (1, n, n), temporal ones (n, 1, 1); odd.
        heads: of the cross attention; divides c.
        batch_mixing: ``correct`` keeps clips apart; ``faithful`` interleaves them as the published code does.
        recompute_convs: compute the convolution stacks again in the backward pass instead of keeping what is
            between them: most of the adapter's memory, little of its time.
        skip_patches: leave patch tokens as they are, for a last block whose patch tokens nobody reads.
    """

    width: int
    grid: tuple[int, int]
    prefix_tokens: int
    bottleneck: int
    kernels: tuple[int, ...] = (3, 5, 7)
    heads: int = 2
    batch_mixing: BatchMixing = "correct"
    recompute_convs: bool = False
    skip_patches: bool = False

    def __post_init__(self) -> None:
        if not self.grid[0] * self.grid[1]:
            raise ValueError("StA needs a backbone with a grid of patch tokens; this one has none.")
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise ValueError(f"StA kernels must be odd to keep the grid's size, found {list(self.kernels)}.")
        if self.bottleneck < 1 or self.bottleneck % self.heads:
            raise ValueError(f"StA bottleneck {self.bottleneck} must be a positive multiple of its {self.heads} heads.")


class ConvStack(nn.Module):
    """Three depthwise convolutions of one kernel, each with batch normalisation, ReLU between them.

    A kernel that is flat in time or in space is run as a 2-D convolution on the memory the tokens already have
    (channels last), many times faster than ``conv3d``; parameters are those of ``nn.Conv3d`` and ``nn.BatchNorm3d``.

    Args:
        channels: c.
        size: n.
        axis: ``space`` for kernel (1, n, n), ``time`` for (n, 1, 1).
    """

    def __init__(self, channels: int, size: int, axis: Literal["space", "time"]) -> None:
        super().__init__()
        kernel = (1, size, size) if axis == "space" else (size, 1, 1)
        self.flat_axis = 2 if axis == "space" else 4
        self.padding = (size // 2, size // 2 if axis == "space" else 0)
        for number in (1, 2, 3):
            self.add_module(f"conv{number}", nn.Conv3d(channels, channels, kernel, groups=channels))
            self.add_module(f"bn{number}", nn.BatchNorm3d(channels))

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        """(N, c, X, Y) planes, X x Y = rows x columns for space, time x positions for time, to the same shape."""
        for number in (1, 2, 3):
            conv, norm = getattr(self, f"conv{number}"), getattr(self, f"bn{number}")
            weight = conv.weight.squeeze(self.flat_axis)
            planes = F.conv2d(planes, weight, conv.bias, padding=self.padding, groups=len(weight))
            planes = norm(planes.unsqueeze(2)).squeeze(2)
            if number < 3:
                planes = F.relu(planes)
        return planes


class CrossAttention(nn.Module):
    """Attention of each stream over the other, both from the streams as they come in.

    Args:
        channels: c.
        heads: divides c.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.spatial_to_temporal = Attention(channels, heads)
        self.temporal_to_spatial = Attention(channels, heads)

    def forward(self, spatial: torch.Tensor, temporal: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, L, c) streams to what time reads from space and space from time, both (B, L, c)."""
        to_temporal = self.spatial_to_temporal(temporal, spatial, spatial)[0]
        to_spatial = self.temporal_to_spatial(spatial, temporal, temporal)[0]
        return to_temporal, to_spatial


class StAdapter(nn.Module):
    """One adapter; ``attach_sta`` puts them into a backbone.

    Args:
        settings: its layout.
        shape: says how the images of a batch form clips.
    """

    def __init__(self, settings: StASettings, shape: ClipShape) -> None:
        super().__init__()
        self.settings, self.shape = settings, shape
        width, channels = settings.width, settings.bottleneck
        self.down = nn.Linear(width, channels)
        self.up = nn.Linear(channels, width)
        for number, size in enumerate(settings.kernels, 1):
            self.add_module(f"s_conv{number}", ConvStack(channels, size, "space"))
            self.add_module(f"t_conv{number}", ConvStack(channels, size, "time"))
        self.cross_attention = CrossAttention(channels, settings.heads)

    def start_as_identity(self) -> None:
        """Zero the up-projection, so that the adapter changes nothing at first."""
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def patch_path(self) -> Iterator[nn.Parameter]:
        """Parameters that act on patch tokens only."""
        for name, parameter in self.named_parameters():
            if not name.startswith(("down.", "up.")):
                yield parameter

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B * T, P + R * C, D) tokens, frames of a clip in a row, to the same shape.

        Raises:
            ValueError: images do not divide into clips, or tokens do not fit the grid.
        """
        self._check(tokens)
        prefix = self.settings.prefix_tokens
        if self.settings.skip_patches:
            changed = tokens[:, :prefix] + F.gelu(self.up(F.gelu(self.down(tokens[:, :prefix]))))
            return torch.cat([changed, tokens[:, prefix:]], dim=1)
        hidden = F.gelu(self.down(tokens))
        hidden = torch.cat([hidden[:, :prefix], self.mix(hidden[:, prefix:])], dim=1)
        return tokens + F.gelu(self.up(hidden))

    def mix(self, patches: torch.Tensor) -> torch.Tensor:
        """Patch tokens (B * T, R * C, c) in the bottleneck, mixed over space and time within each clip."""
        frames, (rows, columns) = self.shape.frames, self.settings.grid
        clips = patches.reshape(-1, frames, rows * columns, patches.shape[-1]).contiguous()
        spatial, temporal = self.streams(clips)
        to_temporal, to_spatial = self.cross_attention(self._sequences(spatial), self._sequences(temporal))
        mixed = F.gelu((to_temporal + to_spatial) / 2)
        return mixed.unflatten(1, (frames, -1)).flatten(0, 1)  # faithful mode: not the inverse, as published

    def streams(self, clips: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, R * C, c) to the spatial and the temporal stream, each the mean of its stacks plus the input."""
        if self.settings.recompute_convs and torch.is_grad_enabled():
            found: tuple[torch.Tensor, torch.Tensor] = checkpoint(
                self._streams,
                clips,
                use_reentrant=False,
                context_fn=lambda: (contextlib.nullcontext(), frozen_statistics(self)),
            )
            return found
        return self._streams(clips)

    def _streams(self, clips: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        images = clips.flatten(0, 1).unflatten(1, self.settings.grid).permute(0, 3, 1, 2)  # (B T, c, R, C)
        times = clips.permute(0, 3, 1, 2)  # (B, c, T, R C)
        spatial, temporal = self._mean_of_stacks("s_conv", images), self._mean_of_stacks("t_conv", times)
        # the tokens come first in the sums so that the results have their layout
        return clips + spatial.permute(0, 2, 3, 1).reshape(clips.shape), clips + temporal.permute(0, 2, 3, 1)

    def _mean_of_stacks(self, kind: str, planes: torch.Tensor) -> torch.Tensor:
        outputs = [getattr(self, f"{kind}{number}")(planes) for number in range(1, len(self.settings.kernels) + 1)]
        return functools.reduce(torch.add, outputs) / len(outputs)

    def _sequences(self, clips: torch.Tensor) -> torch.Tensor:
        """(B, T, R * C, c) to what attention runs over, (B, T * R * C, c)."""
        if self.settings.batch_mixing == "correct":
            return clips.flatten(1, 2)
        return clips.transpose(0, 1).reshape(-1, len(clips), clips.shape[-1]).transpose(0, 1)

    def _check(self, tokens: torch.Tensor) -> None:
        rows, columns = self.settings.grid
        expected = self.settings.prefix_tokens + rows * columns
        if tokens.ndim != 3 or tokens.shape[1] != expected:
            raise ValueError(
                f"StA was built for {expected} tokens an image ({self.settings.prefix_tokens} + {rows} x {columns}), "
                f"but the block gives {tuple(tokens.shape)}. Build the backbone for the input's size."
            )
        if len(tokens) % self.shape.frames:
            raise ValueError(f"{len(tokens)} images do not divide into clips of {self.shape.frames} frames.")


@contextlib.contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Batch normalisation inside computes as before but does not move its running statistics."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    kept = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, momentum, count in kept:
            norm.momentum, norm.num_batches_tracked = momentum, count


class _AddTemporal:
    """Forward pre-hook that adds the backbone's temporal embedding to all tokens of each frame."""

    def __init__(self, backbone: nn.Module, shape: ClipShape) -> None:
        self.backbone, self.shape = backbone, shape

    def __call__(self, _module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        tokens, *rest = inputs
        embedding = embedding_for(getattr(self.backbone, TEMPORAL_NAME), self.shape.frames)
        clips = tokens.unflatten(0, (-1, self.shape.frames)) + embedding[:, :, None].to(tokens.dtype)
        return (clips.flatten(0, 1), *rest)


def embedding_for(embedding: torch.Tensor, frames: int) -> torch.Tensor:
    """Temporal embedding (1, T, D) for another number of frames, by linear interpolation (not in the paper)."""
    if embedding.shape[1] == frames:
        return embedding
    return F.interpolate(embedding.transpose(1, 2), size=frames, mode="linear", align_corners=True).transpose(1, 2)


def attach_temporal_embedding(backbone: Backbone, frames: int, shape: ClipShape) -> nn.Parameter:
    """A learned vector per frame, added to every token before the pre-norm; zeros at first.

    It becomes the backbone's parameter ``temporal_embedding`` (1, T, D), its name in the published checkpoint.

    Raises:
        ConfigError: the backbone has no token embedding.
    """
    entry = backbone.embedding_exit()
    embedding = nn.Parameter(torch.zeros(1, frames, backbone.embed_dim))
    backbone.register_parameter(TEMPORAL_NAME, embedding)
    entry.register_forward_pre_hook(_AddTemporal(backbone, shape))
    return embedding


def attach_sta(
    backbone: Backbone,
    shape: ClipShape,
    *,
    sites: Sequence[int] | None = None,
    bottleneck_ratio: float = 0.5,
    kernels: Sequence[int] = (3, 5, 7),
    heads: int = 2,
    batch_mixing: BatchMixing = "correct",
    recompute_convs: bool = False,
    skip_last_patch_path: bool = False,
) -> list[StAdapter]:
    """Put adapters after blocks of any backbone with a block list and a token grid.

    Args:
        backbone: changed in place; parameters become ``<block>.Adapter.*``.
        shape: clip shape shared by all of them.
        sites: block numbers, negative ones from the end; None = every block.
        bottleneck_ratio: c / D.
        kernels, heads, batch_mixing, recompute_convs: see ``StASettings``.
        skip_last_patch_path: leave out the last block's patch path when the pooled feature does not read it; the
            prediction is the same, its parameters are frozen.

    Returns:
        The adapters in the order of their blocks.

    Raises:
        ConfigError: the backbone has no blocks.
        ValueError: no grid of tokens, a block number it does not have, or a layout that does not divide.
    """
    depth = len(backbone.block_list())
    chosen = range(depth) if sites is None else sorted({site + depth if site < 0 else site for site in sites})
    if not all(0 <= site < depth for site in chosen):
        raise ValueError(f"sites {list(sites or ())}: the backbone has blocks 0 to {depth - 1}.")
    adapters = []
    for site in chosen:
        unread = skip_last_patch_path and backbone.pools_prefix and site == depth - 1
        settings = StASettings(
            backbone.embed_dim,
            backbone.grid_size,
            backbone.num_prefix_tokens,
            round(backbone.embed_dim * bottleneck_ratio),
            tuple(kernels),
            heads,
            batch_mixing,
            recompute_convs,
            skip_patches=unread,
        )
        adapter = StAdapter(settings, shape)
        for parameter in adapter.patch_path() if unread else ():
            parameter.requires_grad_(False)
        backbone.attach_adapter(site, adapter, ADAPTER_NAME)
        adapters.append(adapter)
    return adapters
