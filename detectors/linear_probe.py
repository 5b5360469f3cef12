"""Linear probing: the backbone is frozen, only a linear head is trained, as in MAE's protocol.

He et al., "Masked Autoencoders Are Scalable Vision Learners", arXiv 2111.06377, appendix A.1: batch normalisation
without affine parameters before the linear layer, LARS. The FSFM code carries the same script.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import nn

from backbones.base import Backbone
from benchmark.registry import DETECTORS
from detectors.base import Classifier, ClassifierConfig, DetectorConfig


class LinearProbeConfig(ClassifierConfig):
    """Settings of the probe; the pooling is the backbone's (``global_pool: token`` in MAE's protocol)."""

    batch_norm: bool = True
    """Normalise the feature by batch statistics before the linear layer (MAE's protocol); false = plain."""
    head_init_std: float = Field(0.01, gt=0)
    """Standard deviation of the initial weights."""


@DETECTORS.register("linear_probe")
class LinearProbe(Classifier):
    """Linear probing: frozen backbone, batch normalisation and a linear head (MAE's protocol)."""

    Config: ClassVar[type[DetectorConfig]] = LinearProbeConfig
    class_rows: ClassVar[tuple[str, ...]] = ("head.1.weight", "head.1.bias", "head.weight", "head.bias")

    def __init__(self, config: LinearProbeConfig, backbone: Backbone) -> None:
        super().__init__(config, backbone)
        backbone.requires_grad_(False)
        if config.batch_norm:
            norm = nn.BatchNorm1d(backbone.embed_dim, affine=False, eps=1e-6)
            self.head = nn.Sequential(norm, self.head)

    def train(self, mode: bool = True) -> LinearProbe:
        """Train the head; the frozen backbone stays in evaluation mode (its own batch statistics must not move)."""
        super().train(mode)
        self.backbone.eval()
        return self

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Class scores (B, C)."""
        with torch.no_grad():
            pooled = self.backbone.extract(images).pooled
        out: torch.Tensor = self.head(self.dropout(pooled))
        return out
