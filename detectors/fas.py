"""Face anti-spoofing on a face ViT: the head, sampling and score of FSFM / FS-VFM's MCIO experiments.

FSFM, arXiv 2412.12032 (full fine-tuning); FS-VFM, arXiv 2510.10663 (with FS-Adapter). The head (embedder with a
square-root norm, classifier with unit weight columns) goes back to SSDG (Jia et al., CVPR 2020).

The published full fine-tuning normalises over the token axis, which makes every logit depend on all tokens; all its
numbers depend on that, so it is the default here (``norm_axis: tokens``). The adapter variant has no tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from backbones.base import Backbone
from benchmark.data.datasets import FaceDataset
from benchmark.data.sampling import BatchPlan, GroupedPlan
from benchmark.errors import ConfigError
from benchmark.registry import DETECTORS
from detectors.base import Classifier, ClassifierConfig, DetectorConfig
from detectors.fs_adapter import FSAdapter, FSAdapterConfig

_EMBEDDED = 512


class FASSettings(ClassifierConfig):
    """What both variants share."""

    classes: list[str] = Field(["live", "spoof"], min_length=2)
    """Output classes in order; the first is bona fide."""
    head_dropout: float = Field(0.5, ge=0, lt=1)
    """Dropout of the embedded feature."""
    balance_domains: bool = True
    """Fill every batch with equal numbers of live and spoof from every source dataset."""


class FASConfig(FASSettings):
    """Settings of the full fine-tuning."""

    norm_axis: Literal["tokens", "channels"] = "tokens"
    """Axis of the square-root norm: tokens (published full fine-tuning) or channels."""


class FASHead(nn.Module):
    """Embedder and classifier: Linear, ReLU, dropout, square-root norm over an axis, linear with unit weight columns.

    Args:
        width: input channels D.
        classes: number of outputs.
        dropout: rate behind the ReLU.
    """

    def __init__(self, width: int, classes: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.bottleneck_layer_fc = nn.Linear(width, _EMBEDDED)
        nn.init.normal_(self.bottleneck_layer_fc.weight, 0, 0.005)
        nn.init.constant_(self.bottleneck_layer_fc.bias, 0.1)
        self.dropout = nn.Dropout(dropout)
        self.classifier_layer = nn.Linear(_EMBEDDED, classes)
        nn.init.normal_(self.classifier_layer.weight, 0, 0.01)
        nn.init.zeros_(self.classifier_layer.bias)

    def embed(self, features: torch.Tensor, axis: int = 1) -> torch.Tensor:
        """(B, D) or (B, N, D) to the embedded features, divided by sqrt(2 * their norm over ``axis``)."""
        embedded = self.dropout(F.relu(self.bottleneck_layer_fc(features)))
        norm = embedded.norm(dim=axis, keepdim=True).clamp(min=1e-12)
        return embedded / norm.sqrt() / math.sqrt(2)

    def forward(self, features: torch.Tensor, axis: int = 1) -> torch.Tensor:
        """Class scores of (B, D) or (B, N, D) features; the weights are normalised over the class axis first."""
        with torch.no_grad():  # as published: the stored weight is the normalised one, and gradients are of it
            stored = self.classifier_layer.weight
            is_unit = (stored.norm(dim=0, keepdim=True) - 1).abs() < 1e-6  # again would move the last bit every time
            stored.copy_(torch.where(is_unit, stored, F.normalize(stored, dim=0, eps=1e-12)))
        out: torch.Tensor = self.classifier_layer(self.embed(features, axis))
        return out


class _FASMixin:
    """Sampling and published key names of both variants."""

    config: Any
    class_rows: ClassVar[tuple[str, ...]] = ("head.classifier_layer.weight", "head.classifier_layer.bias")

    def batch_plan(self, dataset: FaceDataset, batch_size: int, seed: int) -> BatchPlan | None:
        """Equal numbers from every (source dataset, class); see ``GroupedPlan``."""
        if not self.config.balance_domains:
            return None
        return GroupedPlan(dataset.domain_groups(), batch_size, seed)


def _rename_published(state: Mapping[str, torch.Tensor], own: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """``backbone.vit.*``, ``embedder.*``, ``classifier.*`` of published files to ours."""
    renamed = {}
    for key, value in state.items():
        if key.startswith(("embedder.bottleneck_layer.", "backbone.vit.head.")):
            continue  # the embedder stored a second time; an unused head
        name = key.removeprefix("embedder.").removeprefix("classifier.")
        if name != key:
            renamed[f"head.{name}"] = value
        elif key.startswith("backbone.vit."):
            rest = key.removeprefix("backbone.vit.")
            renamed[rest if rest.startswith(own) else f"backbone.{rest}"] = value
        else:
            renamed[key] = value
    return renamed


@DETECTORS.register("fas")
class FASDetector(_FASMixin, Classifier):
    """Face anti-spoofing by full fine-tuning of a face ViT, domain-balanced (FSFM, FS-VFM)."""

    Config: ClassVar[type[DetectorConfig]] = FASConfig
    config: FASConfig

    def __init__(self, config: FASConfig, backbone: Backbone) -> None:
        super().__init__(config, backbone)
        if backbone.token_dim != backbone.embed_dim:
            raise ConfigError(
                f"Detector fas reads tokens and pooled feature side by side, but those of this backbone are "
                f"{backbone.token_dim} and {backbone.embed_dim} wide. Take another backbone, e.g. a ViT."
            )
        self.head = FASHead(backbone.embed_dim, len(config.classes), config.head_dropout)

    def sequence(self, images: torch.Tensor) -> torch.Tensor:
        """What the head reads, (B, 1 + N, D): the pooled feature, then the patch tokens as the last block left them."""
        features = self.backbone.extract(images)
        return torch.cat([features.pooled[:, None], features.tokens[:, self.backbone.num_prefix_tokens :]], dim=1)

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Class scores (B, C), read at the pooled token."""
        out: torch.Tensor = self.head(self.sequence(images), 1 if self.config.norm_axis == "tokens" else 2)
        return out[:, 0]

    def adapt_state(self, state: dict[str, torch.Tensor], content: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Published key names to ours, classes in our order."""
        return super().adapt_state(_rename_published(state, ()), content)


class FASAdapterConfig(FASSettings, FSAdapterConfig):
    """Settings of the adapter variant; no mixing, no smoothing."""

    label_smoothing: float = Field(0.0, ge=0, lt=1)
    mixup: float = Field(0.0, ge=0)
    cutmix: float = Field(0.0, ge=0)


@DETECTORS.register("fas_adapter")
class FASAdapter(_FASMixin, FSAdapter):
    """Face anti-spoofing with FS-Adapter on a frozen face ViT, domain-balanced (FS-VFM)."""

    Config: ClassVar[type[DetectorConfig]] = FASAdapterConfig

    def make_head(self, width: int) -> nn.Module:
        """The embedder and classifier of the FAS experiments on the concatenated feature."""
        return FASHead(width, len(self.config.classes), self.config.head_dropout)

    def adapt_state(self, state: dict[str, torch.Tensor], content: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Published key names to ours, classes in our order."""
        return super().adapt_state(_rename_published(state, ("adapter.", "projector.")), content)
