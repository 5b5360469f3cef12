"""Adapter tuning: a frozen transformer with a small trained part after every block.

Houlsby et al., "Parameter-Efficient Transfer Learning for NLP", ICML 2019, arXiv 1902.00751. Trained are the adapters,
the norms after the last block and the head; the network starts as the plain backbone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field
from torch import nn

from backbones.adapters.bottleneck import attach_bottlenecks
from backbones.base import Backbone
from benchmark.registry import DETECTORS
from detectors.base import Classifier, ClassifierConfig, DetectorConfig


class AdapterTuned(Classifier):
    """A classifier whose backbone may be frozen around its adapters; methods attach them in their constructor.

    Attributes:
        adapters: modules inside the backbone that are in training mode while the rest of it evaluates.
        is_frozen: the backbone is frozen; its last norms are trained nevertheless.
    """

    def __init__(self, config: ClassifierConfig, backbone: Backbone, *, frozen: bool = True) -> None:
        super().__init__(config, backbone)
        self.adapters: Sequence[nn.Module] = ()
        self.is_frozen = frozen
        if frozen:
            backbone.requires_grad_(False)
            for norm in backbone.final_norms():
                norm.requires_grad_(True)

    def train(self, mode: bool = True) -> AdapterTuned:
        """Training mode; dropout and batch statistics of a frozen backbone stay those of evaluation."""
        super().train(mode)
        if self.is_frozen:
            self.backbone.eval()
            for adapter in self.adapters:
                adapter.train(mode)
        return self

    def part_of(self, name: str) -> str:
        """See ``Detector.part_of``."""
        return "adapters" if ".adapter." in name.lower() else super().part_of(name)


class AdapterConfig(ClassifierConfig):
    """Settings of adapter tuning."""

    bottleneck: int = Field(64, ge=1)
    """Width inside the adapters."""


@DETECTORS.register("adapter")
class AdapterDetector(AdapterTuned):
    """Adapter tuning for frames: frozen backbone, a trained bottleneck after every block."""

    Config: ClassVar[type[DetectorConfig]] = AdapterConfig

    def __init__(self, config: AdapterConfig, backbone: Backbone) -> None:
        super().__init__(config, backbone)
        self.adapters = attach_bottlenecks(backbone, config.bottleneck)
