"""Baseline: any backbone with a linear head and cross entropy (Xception, EfficientNet-B4, ResNet-34, ...)."""

from __future__ import annotations

from benchmark.registry import DETECTORS
from detectors.base import Classifier


@DETECTORS.register("timm")
class TimmDetector(Classifier):
    """Baseline classifier: any timm model (or other backbone), linear head, cross entropy."""
