"""Clip baseline: any backbone on every frame, features averaged over time, a linear head, cross entropy.

The plainest way to make an image backbone look at clips. What a temporal adapter or a blending of clips adds is
measured against it.
"""

from __future__ import annotations

from typing import ClassVar

import torch

from benchmark.registry import DETECTORS
from detectors.base import Batch, Classifier, Losses


@DETECTORS.register("mean_pool")
class MeanPool(Classifier):
    """Clip baseline: backbone per frame, mean over time, linear head."""

    uses_clips: ClassVar[bool] = True

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Class scores (B, C) of clips (B, T, 3, S, S)."""
        pooled = self.backbone.extract(images.flatten(0, 1)).pooled
        out: torch.Tensor = self.head(self.dropout(pooled.unflatten(0, images.shape[:2]).mean(dim=1)))
        return out

    def training_step(self, batch: Batch) -> Losses:
        """Cross entropy, with mixup / CutMix of whole clips and label smoothing when configured."""
        clips = batch["clip"]
        frames, targets = self.mix(clips.flatten(1, 2), batch["label"])
        return {"loss": self.classification_loss(self.logits(frames.view_as(clips)), targets)}
