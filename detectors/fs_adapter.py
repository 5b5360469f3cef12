"""FS-Adapter: a bottleneck on the pooled feature of a frozen face ViT, with a real-anchored contrastive loss.

FS-VFM, arXiv 2510.10663. h = ReLU(W1 z), a = ReLU(W2 h), logits = head([z; a]), q = normalise(projector(h)); the loss
is cross entropy plus ``weight_cl`` times the contrastive loss on q.

As in the official code the contrastive labels are not mixed although the images are, the fresh ``fc_norm`` of the
backbone stays frozen, and stochastic depth stays active in the frozen trunk (``trunk_eval: true`` turns it off).
Unlike it, the real class is named, not guessed from folder names.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from backbones.base import Backbone
from benchmark.registry import DETECTORS
from detectors.base import Batch, Classifier, DetectorConfig, Losses
from detectors.fsfm import FSFMConfig
from detectors.losses import real_anchor_loss


class FSAdapterConfig(FSFMConfig):
    """Settings of FS-Adapter; mixup, smoothing and head as in the full fine-tuning recipe."""

    reduction: int = Field(4, ge=1)
    """Width of the feature over width of the bottleneck."""
    temperature: float = Field(0.07, gt=0)
    """T of the contrastive loss."""
    weight_cl: float = Field(0.1, ge=0)
    """Weight of the contrastive loss."""
    trainable: Literal["adapter", "all"] = "adapter"
    """adapter: adapter, projector and head only; all: the backbone too."""
    trunk_eval: bool = False
    """Keep the backbone in evaluation mode while training."""


class Bottleneck(nn.Module):
    """W1 and W2 of the adapter, both without bias.

    Args:
        width: D.
        hidden: D over the reduction.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, hidden, bias=False)
        self.linear2 = nn.Linear(hidden, width, bias=False)

    def forward(self, pooled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, D) feature to bottleneck (B, D / r) and adapted feature (B, D)."""
        hidden = F.relu(self.linear1(pooled))
        return hidden, F.relu(self.linear2(hidden))


@DETECTORS.register("fs_adapter")
class FSAdapter(Classifier):
    """FS-Adapter: bottleneck on a frozen face ViT with a real-anchored contrastive loss (FS-VFM)."""

    Config: ClassVar[type[DetectorConfig]] = FSAdapterConfig
    config: FSAdapterConfig

    def __init__(self, config: FSAdapterConfig, backbone: Backbone) -> None:
        super().__init__(config, backbone)
        width, hidden = backbone.embed_dim, backbone.embed_dim // config.reduction
        self.adapter = Bottleneck(width, hidden)
        self.projector = nn.Linear(hidden, hidden)
        self.head = self.make_head(2 * width)
        if config.trainable == "adapter":
            backbone.requires_grad_(False)

    def make_head(self, width: int) -> nn.Module:
        """What reads the concatenated feature (B, width); the bias keeps PyTorch's uniform start, as published."""
        head = nn.Linear(width, len(self.config.classes))
        nn.init.trunc_normal_(head.weight, std=self.config.head_init_std)
        return head

    def train(self, mode: bool = True) -> FSAdapter:
        """Training mode; with ``trunk_eval`` the backbone stays in evaluation mode."""
        super().train(mode)
        if self.config.trunk_eval:
            self.backbone.eval()
        return self

    def adapted(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Feature for the head, (B, 2 D), and unit vectors for the contrastive loss, (B, D / r)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.config.trainable == "all"):
            pooled = self.backbone.extract(images).pooled
        hidden, adapted = self.adapter(pooled)
        return torch.cat([pooled, adapted], dim=-1), F.normalize(self.projector(hidden).float(), dim=-1)

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Class scores (B, C)."""
        out: torch.Tensor = self.head(self.adapted(images)[0])
        return out

    def training_step(self, batch: Batch) -> Losses:
        """Cross entropy on mixed images plus the contrastive loss with the unmixed labels."""
        images, targets = self.mix(batch["image"], self.class_of(batch))
        feature, projected = self.adapted(images)
        classification = self.classification_loss(self.head(feature), targets)
        contrastive = real_anchor_loss(projected, batch["label"] == 0, self.config.temperature)
        loss = classification + self.config.weight_cl * contrastive
        return {"loss": loss, "classification": classification, "contrastive": contrastive}
