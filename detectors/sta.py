"""StA: video deepfake detection with spatiotemporal adapters in a frozen image transformer.

Yan et al., CVPR 2025, arXiv 2408.17065. Frames of a clip go through an image backbone with an adapter after every block
(``backbones/adapters/sta.py``) and a learned temporal embedding; the pooled features are averaged over the frames,
dropped out, and read by a linear head. Published on the first 14 blocks of CLIP ViT-L/14; works on any backbone with
blocks and a token grid.

Unlike the released code, which has both commented out, the backbone is frozen and the adapters start as the identity;
clips of a batch do not see each other (``batch_mixing: faithful`` restores that).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from backbones.adapters.sta import (
    TEMPORAL_NAME,
    BatchMixing,
    ClipShape,
    attach_sta,
    attach_temporal_embedding,
)
from backbones.base import Backbone
from benchmark.registry import DETECTORS
from detectors.adapter import AdapterTuned
from detectors.base import ClassifierConfig, DetectorConfig


class StAConfig(ClassifierConfig):
    """Settings of StA; the defaults are the published layout, which the released checkpoint needs."""

    weights_classes: list[str] | None = ["real", "fake"]
    """Output order of a weights file that does not say it itself; the published one has [real, fake]."""
    head_dropout: float = Field(0.5, ge=0, lt=1)
    """Dropout before the head."""
    frames: int = Field(8, ge=2)
    """Frames of the temporal embedding; clips of another length get an interpolated one."""
    temporal_embedding: bool = True
    """Add a learned vector per frame to all tokens before the first block."""
    sites: Literal["all"] | list[int] = "all"
    """Blocks with an adapter after them, by number; negative ones count from the end."""
    bottleneck_ratio: float = Field(0.5, gt=0, le=1)
    """Width inside the adapters over the backbone's."""
    kernels: list[int] = [3, 5, 7]
    """Sizes of the spatial and temporal convolution stacks."""
    heads: int = Field(2, ge=1)
    """Heads of the cross attention between the two streams."""
    batch_mixing: BatchMixing = "correct"
    """faithful interleaves the clips of a batch in the cross attention, as the published code does."""
    zero_init: bool = True
    """Start every adapter as the identity, so that training starts from the plain backbone."""
    train_backbone: Literal["none", "all"] = "none"
    """none: adapters, temporal embedding, last norm and head are trained; all: the backbone too."""
    skip_last_patch_path: bool = False
    """Leave out the last adapter's patch path when only the class token is read: the same prediction, one adapter's
    convolutions and attention less, and their parameters (which get no gradient) frozen."""
    recompute_convs: bool = False
    """Recompute the convolution stacks in the backward pass: most of the adapters' memory for little time."""


@DETECTORS.register("sta")
class StADetector(AdapterTuned):
    """StA: spatiotemporal adapters in a frozen image transformer, for clips (CVPR 2025)."""

    Config: ClassVar[type[DetectorConfig]] = StAConfig
    class_rows: ClassVar[tuple[str, ...]] = ("head.fc_cls.weight", "head.fc_cls.bias")
    uses_clips: ClassVar[bool] = True
    config: StAConfig

    def __init__(self, config: StAConfig, backbone: Backbone) -> None:
        super().__init__(config, backbone, frozen=config.train_backbone == "none")
        self.head = nn.Sequential(OrderedDict(fc_cls=self.head))  # its name in the published checkpoint
        self.shape = ClipShape()
        if config.temporal_embedding:
            attach_temporal_embedding(backbone, config.frames, self.shape)
        self.adapters = attach_sta(
            backbone,
            self.shape,
            sites=None if config.sites == "all" else config.sites,
            bottleneck_ratio=config.bottleneck_ratio,
            kernels=config.kernels,
            heads=config.heads,
            batch_mixing=config.batch_mixing,
            recompute_convs=config.recompute_convs,
            skip_last_patch_path=config.skip_last_patch_path,
        )
        for adapter in self.adapters if config.zero_init else ():
            adapter.start_as_identity()

    def part_of(self, name: str) -> str:
        """See ``Detector.part_of``."""
        return "temporal embedding" if name == f"backbone.{TEMPORAL_NAME}" else super().part_of(name)

    def features(self, clips: torch.Tensor) -> torch.Tensor:
        """Pooled features (B, T, D) of the frames of clips (B, T, 3, S, S)."""
        self.shape.frames = clips.shape[1]
        return self.backbone.extract(clips.flatten(0, 1)).pooled.unflatten(0, clips.shape[:2])

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Class scores (B, C) of clips (B, T, 3, S, S)."""
        out: torch.Tensor = self.head(self.dropout(self.features(images).mean(1)))
        return out
