"""The two networks of FSFM pre-training: the online masked auto-encoder and its target.

Paper: FSFM, CVPR 2025, arXiv 2412.12032; FS-VFM, arXiv 2510.10663. Both share the FSFM-ViT encoder, a representation
decoder and a projector; the online network adds a predictor and a pixel decoder. State-dict keys, their order and
shapes are those of the published checkpoints, so that weights and optimiser states can be exchanged.

Shape suffixes: B images, L patches, K visible patches, D encoder width, P patch side.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from timm.models.vision_transformer import Block
from torch import nn
from torch.nn import functional as F

from backbones.fsfm_vit import FSFMViT
from benchmark.config import Section
from benchmark.errors import ConfigError

_LAYER_NORM = partial(nn.LayerNorm, eps=1e-6)


class PretrainingShape(Section):
    """Sizes of what surrounds the encoder in pre-training; the defaults are the published ones."""

    decoder_dim: int = 512
    """Width of the pixel decoder."""
    decoder_depth: int = 8
    """Blocks of the pixel decoder."""
    decoder_heads: int = 16
    """Attention heads of the pixel decoder."""
    rep_decoder_depth: int = 2
    """Blocks of the representation decoder (its width is the encoder's)."""
    rep_decoder_heads: int = 16
    """Attention heads of the representation decoder."""
    projection_dim: int = 256
    """Width of the compared features."""
    projection_hidden: int = 4096
    """Hidden width of projector and predictor."""
    rep_decoder_pos: Literal["zeros", "sincos"] = "zeros"
    """Positions in the representation decoder: the published weights were trained with a table left at zero."""


class OnlineOutput(NamedTuple):
    """What the online network makes of a masked image.

    Attributes:
        features: (B, projection_dim) unit vectors of the predictor.
        pixels: (B, L, 3 * P * P) predicted patches (row, column, channel).
    """

    features: torch.Tensor
    pixels: torch.Tensor


class ProjectionHead(nn.Module):
    """Linear, LayerNorm, ReLU, Linear."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.projection_head = nn.Sequential(
            nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, out)
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, width) to (B, out)."""
        out: torch.Tensor = self.projection_head(features)
        return out


class TargetNetwork(nn.Module):
    """Encoder, representation decoder and projector.

    Args:
        encoder: gives patch embedding, blocks and tokens, which become children of this module.
        shape: sizes of the rest.

    Attributes:
        grid: patches per side.
        patch_size: P.
    """

    def __init__(self, encoder: FSFMViT, shape: PretrainingShape) -> None:
        super().__init__()
        width, self.grid = encoder.embed_dim, encoder.grid_size[0]
        self.patch_size = encoder.patch_embed.patch_size[0]
        self.shape = shape
        if width % 4 or width % shape.rep_decoder_heads:
            raise ConfigError(
                f"Pre-training needs an encoder width that is a multiple of 4 and of "
                f"detector.networks.rep_decoder_heads ({shape.rep_decoder_heads}); it is {width}."
            )
        assert encoder.cls_token is not None
        assert encoder.pos_embed is not None
        self.cls_token = encoder.cls_token
        self.pos_embed = encoder.pos_embed
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.rep_decoder_pos_embed = nn.Parameter(torch.zeros(1, self.grid**2 + 1, width), requires_grad=False)
        self._add_tables()
        self.patch_embed = encoder.patch_embed
        self.blocks = encoder.blocks
        self.norm = encoder.norm if isinstance(encoder.norm, nn.LayerNorm) else _LAYER_NORM(width)
        self.projector = ProjectionHead(width, shape.projection_hidden, shape.projection_dim)
        self._add_predictor()
        self.rep_decoder_embed = nn.Linear(width, width)
        self.rep_decoder_blocks = _blocks(width, shape.rep_decoder_depth, shape.rep_decoder_heads)
        self.rep_decoder_norm = _LAYER_NORM(width)
        self.rep_decoder_pred = nn.Linear(width, width)
        self.pos_embed.requires_grad_(False)

    def _add_tables(self) -> None:
        """Further position tables, in the published order of keys."""

    def _add_predictor(self) -> None:
        """Further heads, in the published order of keys."""

    def encode(self, images: torch.Tensor, visible: torch.Tensor | None = None) -> torch.Tensor:
        """Class token and visible patches after the encoder's last norm.

        Args:
            images: (B, 3, S, S) normalised.
            visible: (B, K) int64 patch numbers; None = all.

        Returns:
            (B, 1 + K, D).
        """
        tokens = self.patch_embed(images) + self.pos_embed[:, 1:]
        if visible is not None:
            tokens = tokens.gather(1, visible[..., None].expand(-1, -1, tokens.shape[2]))
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(tokens), -1, -1)
        out: torch.Tensor = self.norm(self.blocks(torch.cat([first, tokens], dim=1)))
        return out

    def represent(self, latent: torch.Tensor, visible: torch.Tensor | None = None) -> torch.Tensor:
        """Tokens of the representation decoder, class token first.

        Args:
            latent: (B, 1 + K, D), see ``encode``.
            visible: (B, K) places of the patches; all others get the mask token.

        Returns:
            (B, 1 + L, D).
        """
        tokens = place_tokens(self.rep_decoder_embed(latent), self.mask_token, visible, self.grid**2)
        tokens = self.rep_decoder_blocks(tokens + self.rep_decoder_pos_embed)
        out: torch.Tensor = self.rep_decoder_pred(self.rep_decoder_norm(tokens))
        return out

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Unit features (B, projection_dim) of the whole images (B, 3, S, S): mean over all tokens, projected."""
        tokens = self.represent(self.encode(images))
        return F.normalize(self.projector(tokens.mean(dim=1)).float(), dim=-1)


class OnlineNetwork(TargetNetwork):
    """The target's parts, a predictor, and a pixel decoder (see ``TargetNetwork`` for the arguments)."""

    def __init__(self, encoder: FSFMViT, shape: PretrainingShape) -> None:
        super().__init__(encoder, shape)
        if shape.decoder_dim % 4 or shape.decoder_dim % shape.decoder_heads:
            raise ConfigError(
                f"detector.networks.decoder_dim is {shape.decoder_dim}; it must be a multiple of 4 and of "
                f"decoder_heads ({shape.decoder_heads})."
            )
        self.decoder_embed = nn.Linear(encoder.embed_dim, shape.decoder_dim)
        self.decoder_blocks = _blocks(shape.decoder_dim, shape.decoder_depth, shape.decoder_heads)
        self.decoder_norm = _LAYER_NORM(shape.decoder_dim)
        self.decoder_pred = nn.Linear(shape.decoder_dim, 3 * self.patch_size**2)

    def _add_tables(self) -> None:
        table = torch.zeros(1, self.grid**2 + 1, self.shape.decoder_dim)
        self.decoder_pos_embed = nn.Parameter(table, requires_grad=False)

    def _add_predictor(self) -> None:
        shape = self.shape
        self.predictor = ProjectionHead(shape.projection_dim, shape.projection_hidden, shape.projection_dim)

    def reconstruct(self, latent: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
        """Pixel decoder: (B, L, 3 * P * P) from latents (B, 1 + K, D) at their places (B, K).

        The mask token is projected once instead of once per hidden patch; the result is the same.
        """
        filler = self.decoder_embed(self.mask_token)
        tokens = place_tokens(self.decoder_embed(latent), filler, visible, self.grid**2)
        tokens = self.decoder_norm(self.decoder_blocks(tokens + self.decoder_pos_embed))
        out: torch.Tensor = self.decoder_pred(tokens[:, 1:])
        return out

    def compare(self, latent: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
        """Unit features (B, projection_dim) of a masked view, through projector and predictor."""
        pooled = self.represent(latent, visible).mean(dim=1)
        return F.normalize(self.predictor(self.projector(pooled)).float(), dim=-1)

    def view(self, images: torch.Tensor, visible: torch.Tensor) -> OnlineOutput:
        """Features and pixels of images (B, 3, S, S) of which the patches ``visible`` (B, K) are seen."""
        latent = self.encode(images, visible)
        return OnlineOutput(self.compare(latent, visible), self.reconstruct(latent, visible))

    def initialise(self, *, keep_encoder: bool) -> None:
        """The reference's start: Xavier-uniform linear weights, zero biases, fixed sin-cos position tables.

        Args:
            keep_encoder: leave the encoder as it is (it was loaded).
        """
        kept = {id(module) for part in (self.patch_embed, self.blocks, self.norm) for module in part.modules()}
        for module in self.modules():
            if not (keep_encoder and id(module) in kept):
                _initialise(module)
        nn.init.normal_(self.mask_token, std=0.02)
        self.decoder_pos_embed.data.copy_(sincos_table(self.decoder_pos_embed.shape[2], self.grid))
        if self.shape.rep_decoder_pos == "sincos":
            self.rep_decoder_pos_embed.data.copy_(sincos_table(self.rep_decoder_pos_embed.shape[2], self.grid))
        if not keep_encoder:
            nn.init.xavier_uniform_(self.patch_embed.proj.weight.data.flatten(1))
            nn.init.normal_(self.cls_token, std=0.02)
            self.pos_embed.data.copy_(sincos_table(self.pos_embed.shape[2], self.grid))


def _blocks(width: int, depth: int, heads: int) -> nn.Sequential:
    norm: Any = _LAYER_NORM  # timm types it as a class, and calls it as one
    return nn.Sequential(*(Block(width, heads, 4.0, qkv_bias=True, norm_layer=norm) for _ in range(depth)))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)


def place_tokens(tokens: torch.Tensor, filler: torch.Tensor, places: torch.Tensor | None, patches: int) -> torch.Tensor:
    """Patch tokens back on the grid, the class token in front, a filler everywhere else.

    Args:
        tokens: (B, 1 + K, W) with the class token first.
        filler: (1, 1, W).
        places: (B, K) int64, or None when all patches are there in order.
        patches: L.

    Returns:
        (B, 1 + L, W).
    """
    if places is None:
        return tokens
    grid = filler.to(tokens.dtype).expand(len(tokens), patches, -1)
    grid = grid.scatter(1, places[..., None].expand(-1, -1, tokens.shape[2]), tokens[:, 1:])
    return torch.cat([tokens[:, :1], grid], dim=1)


def sincos_table(width: int, grid: int) -> torch.Tensor:
    """Fixed 2-D position table (MAE's), zeros for the class token.

    Args:
        width: W, a multiple of 4.
        grid: patches per side.

    Returns:
        (1, 1 + grid * grid, W) float32; the first half of a row encodes the column: sines, then cosines.
    """
    frequencies = 10000.0 ** (-np.arange(width // 4, dtype=np.float64) / (width / 4))
    rows, columns = np.divmod(np.arange(grid * grid), grid)
    parts = [function(place[:, None] * frequencies) for place in (columns, rows) for function in (np.sin, np.cos)]
    table = np.concatenate([np.zeros((1, width)), np.concatenate(parts, axis=1)])
    return torch.from_numpy(table).float()[None]


def patchify(images: torch.Tensor, patch_size: int) -> torch.Tensor:
    """Images (B, C, S, S) to patches (B, L, P * P * C): row-major patches, inside a patch row, column, channel."""
    batch, channels, height, width = images.shape
    shape = (batch, channels, height // patch_size, patch_size, width // patch_size, patch_size)
    return images.reshape(shape).permute(0, 2, 4, 3, 5, 1).flatten(1, 2).flatten(2)


def unpatchify(patches: torch.Tensor, patch_size: int) -> torch.Tensor:
    """The inverse of ``patchify`` for square images: (B, L, P * P * C) to (B, C, S, S)."""
    batch, count, length = patches.shape
    grid, channels = round(count**0.5), length // patch_size**2
    pixels = patches.reshape(batch, grid, grid, patch_size, patch_size, channels)
    return pixels.permute(0, 5, 1, 3, 2, 4).reshape(batch, channels, grid * patch_size, grid * patch_size)
