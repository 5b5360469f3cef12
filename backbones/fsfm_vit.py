"""FSFM-ViT: the plain vision transformer of FSFM (CVPR 2025) and FS-VFM, as used after pre-training.

Paper: "FSFM: A Generalizable Face Security Foundation Model via Self-Supervised Facial Representation Learning",
arXiv 2412.12032; extension FS-VFM, arXiv 2510.10663. Weights: hub repository Wolowolo/fsfm-3c, CC BY-NC 4.0.

The network is timm's ``VisionTransformer``; only loading, pooling names and the small variant's 12 heads (timm's
has 6, which loads without an error and computes something else) are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.nn import functional as F
from typing_extensions import TypedDict, Unpack

from backbones.base import IMAGENET, Backbone, Features, Normalization
from backbones.fsfm_checkpoints import PRETRAINING_ONLY, network
from backbones.weights import (
    STATISTICS_FILE,
    PublishedWeights,
    State,
    check_fit,
    read_checkpoint,
    resolve_weights,
    state_dict_of,
    stored_normalization,
)
from benchmark.errors import CheckpointError
from benchmark.registry import BACKBONES

# Attention heads of the published variants by width; the number does not show in the weights.
HEADS = {384: 12, 768: 12, 1024: 16, 1280: 16}
_HUB = "Wolowolo/fsfm-3c"


def _published(tag: str, backbone: str, folder: str, file: str, source: str) -> PublishedWeights:
    path = f"pretrained_models/{folder}"
    return PublishedWeights(
        f"{backbone}.{tag}", backbone, _HUB, f"{path}/{file}", f"{path}/{STATISTICS_FILE}", source=source
    )


_SMALL, _BASE, _LARGE = "fsfm_vit_small_patch16", "fsfm_vit_base_patch16", "fsfm_vit_large_patch16"
PUBLISHED: dict[str, PublishedWeights] = {
    facts.name: facts
    for facts in (
        _published("vf2_400e", _BASE, "VF2_ViT-B", "checkpoint-400.pth", "2412.12032"),
        _published("ffpp_c23_400e", _BASE, "FF++_o_c23_ViT-B", "checkpoint-400.pth", "2412.12032"),
        _published("fsvfm_600e", _SMALL, "FS-VFM_ViT-S_VF2_600e", "checkpoint-599.pth", "2510.10663"),
        _published("fsvfm_600e", _BASE, "FS-VFM_ViT-B_VF2_600e", "checkpoint-600.pth", "2510.10663"),
        _published("fsvfm_600e", _LARGE, "FS-VFM_ViT-L_VF2_600e", "checkpoint-599.pth", "2510.10663"),
    )
}


class FSFMViTOptions(TypedDict, total=False):
    """What can be set when building an FSFM-ViT."""

    img_size: int
    patch_size: int
    in_chans: int
    embed_dim: int
    depth: int
    num_heads: int
    mlp_ratio: float
    drop_path_rate: float
    drop_rate: float
    global_pool: Literal["avg", "token"]
    num_classes: int
    weights: str | None


class FSFMViT(VisionTransformer, Backbone):
    """Vision transformer with a class token, pooled over patch tokens (``avg``) or read at the class token.

    Args:
        img_size: input side in pixels.
        patch_size: patch side; divides ``img_size``.
        in_chans: input channels.
        embed_dim: width D.
        depth: number of blocks.
        num_heads: attention heads; divides D.
        mlp_ratio: hidden width of the MLP over D.
        drop_path_rate: stochastic depth of the last block (linearly from 0 at the first).
        drop_rate: dropout on the position embedding.
        global_pool: ``avg``: mean of the patch tokens, then ``fc_norm``; ``token``: ``norm``, then the class token.
        num_classes: outputs of a head inside the backbone, as in published fine-tuned files; 0 = no head.
        weights: file, run folder, hub reference or published name; see ``load_pretrained``.

    Attributes:
        loaded_from: the file its weights came from, or None for a random start.

    State-dict keys are those of the published checkpoints.
    """

    def __init__(
        self,
        img_size: int = 224,
        patch_size: int = 16,
        in_chans: int = 3,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.0,
        drop_rate: float = 0.0,
        global_pool: Literal["avg", "token"] = "avg",
        num_classes: int = 0,
        weights: str | None = None,
    ) -> None:
        if img_size % patch_size or embed_dim % num_heads:
            raise ValueError(
                f"img_size {img_size} must be a multiple of patch_size {patch_size}, and embed_dim {embed_dim} of "
                f"num_heads {num_heads}."
            )
        VisionTransformer.__init__(
            self,
            img_size=img_size,
            patch_size=patch_size,
            in_chans=in_chans,
            embed_dim=embed_dim,
            depth=depth,
            num_heads=num_heads,
            mlp_ratio=mlp_ratio,
            qkv_bias=True,
            global_pool=global_pool,
            fc_norm=global_pool == "avg",
            num_classes=num_classes,
            drop_path_rate=drop_path_rate,
            pos_drop_rate=drop_rate,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            weight_init="skip",
        )
        self.grid_size = self.patch_embed.grid_size
        self.input_size = img_size
        self.num_heads = num_heads
        self.pools_prefix = global_pool == "token"
        self.normalization: Normalization | None = IMAGENET
        self.loaded_from: Path | None = None
        self._initialise()
        if weights is not None:
            self.load_pretrained(weights)

    def _initialise(self) -> None:
        """The reference's start: truncated normal 0.02 for linear weights and tokens, zeros for biases."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for token in (self.pos_embed, self.cls_token):
            assert token is not None
            nn.init.trunc_normal_(token, std=0.02)

    def extract(self, images: torch.Tensor) -> Features:
        """See ``Backbone.extract``; tokens include the class token at position 0."""
        tokens = self.forward_features(images)
        return Features(tokens, self.forward_head(tokens, pre_logits=True))

    def block_list(self) -> nn.ModuleList:
        """See ``Backbone.block_list``."""
        return nn.ModuleList(self.blocks)

    def embedding_exit(self) -> nn.Module:
        """See ``Backbone.embedding_exit``."""
        return self.norm_pre

    def final_norms(self) -> list[nn.Module]:
        """See ``Backbone.final_norms``."""
        return [self.norm, self.fc_norm]

    def layer_ids(self) -> dict[str, int]:
        """Layer 0: tokens, positions, patch embedding; i + 1: block i; depth + 1: everything after."""
        return {name: _layer_id(name, len(self.blocks)) for name, _ in self.named_parameters()}

    def no_weight_decay(self) -> set[str]:
        """Position embedding and class token."""
        return {"pos_embed", "cls_token"}

    def load_pretrained(self, reference: str) -> None:
        """Load a pre-trained or fine-tuned encoder and the normalisation that belongs to it.

        The pre-training decoder, projector, target heads and (for ``avg``) the final ``norm`` are left out; the head
        and, when the file has none, ``fc_norm`` stay fresh. The position embedding is resized to another grid.

        Raises:
            CheckpointError: unsafe or missing file, or another architecture.
        """
        heads = HEADS.get(self.embed_dim)
        if heads is not None and self.num_heads != heads:
            raise CheckpointError(
                f"{reference}: published FSFM weights of width {self.embed_dim} have {heads} attention heads, not "
                f"{self.num_heads}. They would load and compute something else; set num_heads={heads}."
            )
        path = resolve_weights(reference, PUBLISHED)
        content = read_checkpoint(path)
        stored_heads = content.get("metadata", {}).get("num_heads")
        if stored_heads is not None and int(stored_heads) != self.num_heads:
            raise CheckpointError(f"{path}: trained with {stored_heads} attention heads; set num_heads={stored_heads}.")
        self.load_encoder(state_dict_of(content, path), str(path))
        self.normalization = stored_normalization(content, path)
        self.loaded_from = path

    def load_encoder(self, state: Mapping[str, torch.Tensor], origin: str = "state dict") -> None:
        """Load encoder tensors by their published names (see ``load_pretrained``).

        Of a run that holds an online and a target network, the online one's are taken.
        """
        state = network(state, "online") or state
        tensors = {key.removeprefix("backbone."): value for key, value in state.items()}
        own = self.state_dict()
        dropped: tuple[str, ...] = PRETRAINING_ONLY
        may_miss = {"head.weight", "head.bias"}
        if self.num_classes == 0 or _shape(tensors, "head.weight") != _shape(own, "head.weight"):
            dropped += ("head.",)
        if "fc_norm.weight" in own and "fc_norm.weight" not in tensors:
            may_miss |= {"fc_norm.weight", "fc_norm.bias"}
            dropped += ("norm.",)
        tensors = {key: value for key, value in tensors.items() if not key.startswith(dropped)}
        if "pos_embed" in tensors:
            tensors["pos_embed"] = resize_pos_embed(tensors["pos_embed"], self.grid_size)
        self.load_state_dict(check_fit(own, tensors, origin, may_miss=may_miss), strict=False)


def resize_pos_embed(pos_embed: torch.Tensor, grid: tuple[int, int], prefix_tokens: int = 1) -> torch.Tensor:
    """Position embedding for another grid: bicubic, align_corners=False, no antialias; prefix tokens kept.

    Args:
        pos_embed: (1, prefix + g * g, D).
        grid: rows and columns wanted.
        prefix_tokens: leading tokens without a place on the grid.

    Returns:
        (1, prefix + rows * columns, D); the same tensor when the grid already fits.
    """
    prefix, patches = pos_embed[:, :prefix_tokens], pos_embed[:, prefix_tokens:]
    if patches.shape[1] == grid[0] * grid[1]:
        return pos_embed
    side = round(patches.shape[1] ** 0.5)
    image = patches.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    image = F.interpolate(image, size=grid, mode="bicubic", align_corners=False)
    return torch.cat([prefix, image.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


def _layer_id(name: str, depth: int) -> int:
    if name in {"cls_token", "pos_embed"} or name.startswith("patch_embed"):
        return 0
    if name.startswith("blocks."):
        return int(name.split(".")[1]) + 1
    return depth + 1


def _shape(state: Mapping[str, torch.Tensor] | State, key: str) -> tuple[int, ...] | None:
    return tuple(state[key].shape) if key in state else None


def _build(defaults: FSFMViTOptions, options: FSFMViTOptions) -> FSFMViT:
    merged: FSFMViTOptions = {**defaults, **options}
    return FSFMViT(**merged)


@BACKBONES.register("fsfm_vit_tiny_patch16")
def fsfm_vit_tiny_patch16(**options: Unpack[FSFMViTOptions]) -> FSFMViT:
    """ViT-Ti/16, width 192, for the demo and for tests; no published weights."""
    return _build({"embed_dim": 192, "depth": 12, "num_heads": 12}, options)


@BACKBONES.register("fsfm_vit_small_patch16")
def fsfm_vit_small_patch16(**options: Unpack[FSFMViTOptions]) -> FSFMViT:
    """ViT-S/16 with 12 heads (FS-VFM-S), 21.7 M parameters."""
    return _build({"embed_dim": 384, "depth": 12, "num_heads": 12}, options)


@BACKBONES.register("fsfm_vit_base_patch16")
def fsfm_vit_base_patch16(**options: Unpack[FSFMViTOptions]) -> FSFMViT:
    """ViT-B/16 (FSFM, FS-VFM-B), 85.8 M parameters."""
    return _build({"embed_dim": 768, "depth": 12, "num_heads": 12}, options)


@BACKBONES.register("fsfm_vit_large_patch16")
def fsfm_vit_large_patch16(**options: Unpack[FSFMViTOptions]) -> FSFMViT:
    """ViT-L/16 (FS-VFM-L), 303.3 M parameters."""
    return _build({"embed_dim": 1024, "depth": 24, "num_heads": 16}, options)


@BACKBONES.register("fsfm_vit_huge_patch14")
def fsfm_vit_huge_patch14(**options: Unpack[FSFMViTOptions]) -> FSFMViT:
    """ViT-H/14, 630.8 M parameters; no published weights."""
    return _build({"patch_size": 14, "embed_dim": 1280, "depth": 32, "num_heads": 16}, options)
