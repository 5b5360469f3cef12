"""CLIP image towers: open_clip's vision transformer, without text tower and projection.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021, arXiv 2103.00020.
Weights: OpenAI's (MIT) and everything open_clip knows, by its tag; or a file in Hugging Face, OpenAI / open_clip or
timm spelling. State-dict keys are OpenAI's without ``visual.``, which are also those of the published StA checkpoint.

OpenAI's weights were trained with QuickGELU; the same tower with the exact GELU loads them without an error and
computes something else, so a tag whose activation differs from the tower's is refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from loguru import logger
from open_clip import get_model_config, list_models
from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model
from open_clip.transformer import LayerNorm, QuickGELU, VisionTransformer
from torch import nn
from typing_extensions import TypedDict, Unpack

from backbones.attention import Attention
from backbones.base import CLIP, Backbone, Features, Normalization
from backbones.clip_keys import to_openai, tower_of
from backbones.fsfm_vit import resize_pos_embed
from backbones.weights import (
    PublishedWeights,
    check_fit,
    read_checkpoint,
    resolve_weights,
    state_dict_of,
    stored_normalization,
)
from benchmark.errors import BenchmarkError, CheckpointError, closest
from benchmark.registry import BACKBONES

_BLOCK = "transformer.resblocks"
_FILE = "open_clip_model.safetensors"
_LICENCES = (
    ("openai", "MIT"),
    ("laion", "MIT"),
    ("datacomp", "MIT"),
    ("metaclip", "CC BY-NC 4.0 (no commercial use)"),
)


@dataclass(frozen=True)
class CLIPWeights(PublishedWeights):
    """Facts about weights that open_clip knows.

    Attributes:
        normalization: mean and std of their input.
        quick_gelu: trained with QuickGELU, not GELU.
    """

    normalization: Normalization = CLIP
    quick_gelu: bool = False


class CLIPOptions(TypedDict, total=False):
    """What can be set when building a CLIP tower; the defaults are the named model's."""

    img_size: int
    patch_size: int
    embed_dim: int
    num_blocks: int
    num_heads: int
    mlp_ratio: float
    quick_gelu: bool
    weights: str | None


class CLIPViT(VisionTransformer, Backbone):
    """A CLIP vision transformer; the pooled feature is the class token after the last norm, before any projection.

    Args:
        model: open_clip name with a plain vision transformer, e.g. ``ViT-B-16-quickgelu``.
        img_size: input side in pixels; another one than the weights' resizes the position embedding.
        patch_size: patch side; divides ``img_size``.
        embed_dim: width D.
        num_blocks: the first so many blocks; weights with more lose the rest.
        num_heads: attention heads; divides D.
        mlp_ratio: hidden width of the MLP over D.
        quick_gelu: activation x sigmoid(1.702 x) instead of the exact GELU; None = as the name says.
        weights: tag of open_clip (``openai``), file, run folder or hub reference; see ``load_pretrained``.
    """

    transformer: Any
    _embeds: Any
    _global_pool: Any
    ln_pre: nn.Module
    ln_post: nn.Module

    def __init__(
        self,
        model: str,
        img_size: int | None = None,
        patch_size: int | None = None,
        embed_dim: int | None = None,
        num_blocks: int | None = None,
        num_heads: int | None = None,
        mlp_ratio: float | None = None,
        quick_gelu: bool | None = None,
        weights: str | None = None,
    ) -> None:
        config = get_model_config(model)
        if config is None:
            near = closest(model, list_models())
            raise BenchmarkError(f"open_clip has no model '{model}'. Closest: {', '.join(near) or 'none'}.")
        tower = _plain_tower(model, config["vision_cfg"])
        given = {"image_size": img_size, "patch_size": patch_size, "width": embed_dim, "layers": num_blocks,
                 "heads": num_heads, "mlp_ratio": mlp_ratio}  # fmt: skip
        tower |= {key: value for key, value in given.items() if value is not None}
        if tower["image_size"] % tower["patch_size"] or tower["width"] % tower["heads"]:
            raise ValueError(
                f"img_size {tower['image_size']} must be a multiple of patch_size {tower['patch_size']}, and embed_dim "
                f"{tower['width']} of num_heads {tower['heads']}."
            )
        quick = bool(config.get("quick_gelu")) if quick_gelu is None else quick_gelu
        VisionTransformer.__init__(self, act_layer=QuickGELU if quick else nn.GELU, norm_layer=LayerNorm, **tower)
        self.proj = None
        for block in self.transformer.resblocks:
            block.attn = Attention(tower["width"], tower["heads"])
        self.model, self.quick_gelu = model, quick
        self.embed_dim, self.input_size = tower["width"], tower["image_size"]
        self.num_prefix_tokens = 1
        self.pools_prefix = self.pool_type == "tok"
        self.normalization: Normalization | None = CLIP
        if weights is not None:
            self.load_pretrained(weights)

    def extract(self, images: torch.Tensor) -> Features:
        """See ``Backbone.extract``; tokens include the class token at position 0, all after the last norm."""
        residual = self.transformer(self._embeds(images))
        tokens = self.ln_post(residual)
        if self.final_ln_after_pool:
            return Features(tokens, self.ln_post(self._global_pool(residual)[0]))
        return Features(tokens, self._global_pool(tokens)[0])

    def block_list(self) -> nn.ModuleList:
        """See ``Backbone.block_list``."""
        blocks: nn.ModuleList = self.transformer.resblocks
        return blocks

    def embedding_exit(self) -> nn.Module:
        """See ``Backbone.embedding_exit``."""
        return self.ln_pre

    def final_norms(self) -> list[nn.Module]:
        """See ``Backbone.final_norms``."""
        return [self.ln_post]

    def layer_ids(self) -> dict[str, int]:
        """Layer 0: tokens, positions, patch embedding, pre-norm; i + 1: block i; depth + 1: everything after."""
        return {name: _layer_id(name, len(self.block_list())) for name, _ in self.named_parameters()}

    def no_weight_decay(self) -> set[str]:
        """Position embedding and class token."""
        return {"positional_embedding", "class_embedding"}

    def own_keys(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Hugging Face, OpenAI / open_clip or timm spelling, of a tower or a whole CLIP model, to OpenAI's."""
        return to_openai(tower_of(state))

    def load_pretrained(self, reference: str) -> None:
        """Load a tower and the normalisation that belongs to it.

        Args:
            reference: a tag of open_clip for this model, a file, a run folder or a hub reference, in any spelling.

        Raises:
            CheckpointError: unsafe or missing file, another architecture, or weights trained with another activation.
        """
        known = published_weights(self.model)
        facts = known.get(reference)
        if facts is not None and facts.quick_gelu != self.quick_gelu:
            trained, built = ("QuickGELU", "GELU") if facts.quick_gelu else ("GELU", "QuickGELU")
            raise CheckpointError(
                f"The weights '{reference}' were trained with {trained}, the tower has {built}: they would load and "
                f"compute something else. Set backbone.quick_gelu={str(facts.quick_gelu).lower()}."
            )
        path = resolve_weights(reference, known)
        content = read_checkpoint(path)
        self.load_encoder(state_dict_of(content, path), str(path))
        self.normalization = facts.normalization if facts is not None else stored_normalization(content, path)

    def load_encoder(self, state: Mapping[str, torch.Tensor], origin: str = "state dict") -> None:
        """Load a tower in any spelling, strictly; the projection and blocks beyond our depth have no place here."""
        tensors, own = self.own_keys(state), self.state_dict()
        depth = len(self.block_list())
        stored = 1 + max((int(key.split(".")[2]) for key in tensors if key.startswith(f"{_BLOCK}.")), default=-1)
        if stored > depth:
            logger.info("{}: the first {} of its {} blocks are used.", origin, depth, stored)
        if "positional_embedding" in tensors:
            positions = tensors["positional_embedding"]
            tensors["positional_embedding"] = resize_pos_embed(positions[None], self.grid_size)[0]
        unused = ("proj", *(f"{_BLOCK}.{number}." for number in range(depth, stored)))
        self.load_state_dict(check_fit(own, tensors, origin, may_miss=set(), may_drop=unused))


def published_weights(model: str) -> dict[str, CLIPWeights]:
    """Weights on the hub that open_clip knows for a model, by tag.

    The activation is a fact of the weights, so both names of a model (with and without ``-quickgelu``) have them all.
    """
    plain = model.removesuffix("-quickgelu")
    found: dict[str, CLIPWeights] = {}
    for name in (plain, f"{plain}-quickgelu"):
        for tag in list_pretrained_tags_by_model(name):
            facts = get_pretrained_cfg(name, tag)
            if facts.get("hf_hub"):
                found[tag] = CLIPWeights(
                    f"{plain}.{tag}",
                    plain,
                    repo=facts["hf_hub"].strip("/"),
                    file=_FILE,
                    licence=_licence(tag),
                    source="arXiv 2103.00020" if tag == "openai" else "open_clip",
                    normalization=(tuple(facts["mean"]), tuple(facts["std"])),
                    quick_gelu=bool(facts.get("quick_gelu")),
                )
    return found


def _licence(tag: str) -> str:
    return next((licence for start, licence in _LICENCES if tag.startswith(start)), "see the model card")


def _plain_tower(model: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments of open_clip's vision transformer out of a model's ``vision_cfg``."""
    reason = None
    if config.get("timm_model_name"):
        reason = f"its tower is timm's: use backbone timm with model={config['timm_model_name']}"
    elif not isinstance(config["layers"], int):
        reason = "its tower is a ResNet"
    elif config.get("attentional_pool"):
        reason = "its tower pools by attention"
    if reason:
        raise BenchmarkError(f"open_clip model '{model}' has no plain vision transformer; {reason}.")
    accepted = inspect.signature(VisionTransformer).parameters
    tower = {"mlp_ratio": 4.0, **{key: value for key, value in config.items() if key in accepted}}
    return {**tower, "heads": config["width"] // config.get("head_width", 64)}


def _layer_id(name: str, depth: int) -> int:
    if name.startswith(f"{_BLOCK}."):
        return int(name.split(".")[2]) + 1
    return depth + 1 if name.startswith("ln_post") else 0


@BACKBONES.register("open_clip")
def open_clip_tower(model: str, **options: Unpack[CLIPOptions]) -> CLIPViT:
    """Image tower of any open_clip model with a plain vision transformer, by its open_clip name."""
    return CLIPViT(model, **options)


@BACKBONES.register("clip_vit_b32")
def clip_vit_b32(**options: Unpack[CLIPOptions]) -> CLIPViT:
    """CLIP ViT-B/32 with QuickGELU, 87.5 M parameters."""
    return CLIPViT("ViT-B-32-quickgelu", **options)


@BACKBONES.register("clip_vit_b16")
def clip_vit_b16(**options: Unpack[CLIPOptions]) -> CLIPViT:
    """CLIP ViT-B/16 with QuickGELU, 85.8 M parameters."""
    return CLIPViT("ViT-B-16-quickgelu", **options)


@BACKBONES.register("clip_vit_l14")
def clip_vit_l14(**options: Unpack[CLIPOptions]) -> CLIPViT:
    """CLIP ViT-L/14 with QuickGELU, 303.2 M parameters."""
    return CLIPViT("ViT-L-14-quickgelu", **options)


@BACKBONES.register("clip_vit_l14_336")
def clip_vit_l14_336(**options: Unpack[CLIPOptions]) -> CLIPViT:
    """CLIP ViT-L/14 at 336 pixels with QuickGELU, 303.5 M parameters."""
    return CLIPViT("ViT-L-14-336-quickgelu", **options)
